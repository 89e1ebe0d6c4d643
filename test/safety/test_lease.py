from __future__ import annotations

from reconvla_ros.safety.lease import Lease


def test_one_holder_at_a_time() -> None:
    lease = Lease()
    assert lease.holder == "none"
    assert lease.request("policy") == (True, "lease: policy")
    granted, message = lease.request("replay")
    assert not granted and "policy holds the lease" in message and lease.holder == "policy"
    assert lease.request("none")[0] and lease.request("replay")[0]


def test_teleop_takes_over_and_is_not_taken_over() -> None:
    lease = Lease()
    lease.request("policy")
    assert lease.request("teleop") == (True, "lease: teleop takes over from policy")
    for source in ("policy", "replay", "home"):
        assert not lease.request(source)[0]
    assert lease.holder == "teleop"


def test_unknown_source_names_the_choices() -> None:
    granted, message = Lease().request("polcy")
    assert not granted and "did you mean 'policy'" in message


def test_release_is_for_the_holder() -> None:
    lease = Lease()
    lease.request("teleop")
    lease.release("policy")
    assert lease.holder == "teleop"
    lease.release("teleop")
    assert lease.holder == "none"
