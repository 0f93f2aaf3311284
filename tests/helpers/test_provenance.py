"""What a record of a measurement says of the machine and the versions."""

from helpers.provenance import describe_versions, these_versions, this_machine


def test_this_machine_and_versions():
    assert this_machine().cores >= 1 and this_machine() == this_machine()
    assert {"python", "torch", "numpy"} <= these_versions().keys()
    assert describe_versions({"python": "3.11", "vllm": "1"}) == "python 3.11, vllm 1"
