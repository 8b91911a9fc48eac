import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import MigsimError, ParameterError, ScenarioError, UnitError
from migsim.qapi import QemuVersion
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec

TEXT = """
name = "busy-4g"
settle-s = "3s"

[qemu]
version = "10.0"
command = "$MIGSIM_TEST_QEMU -L share"

[guest]
ram-bytes = "4GiB"

[guest.workload]
touched-pages = 1000

[[guest.workload.classes]]
base-page = 0
pages = 100
share = 0.9

[migration.parameters]
max-bandwidth = "1Gbps"
downtime-limit = "300ms"

[migration.capabilities]
auto-converge = true
"""


def test_a_scenario_is_read_in_plain_units():
    scenario = LabScenario.from_toml(TEXT)
    assert scenario.guest.ram_bytes == 4 << 30
    assert scenario.settle_s == 3
    assert scenario.guest.workload.classes == (PageClass(base_page=0, pages=100, share=0.9),)
    assert scenario.migration.parameters == {"max-bandwidth": 125_000_000, "downtime-limit": 300}
    assert scenario.migration.capabilities == {"auto-converge": True}
    assert scenario.qemu.qemu_version == QemuVersion(10, 0)
    assert scenario.migration.effective("10.0")["multifd-channels"] == 2
    assert scenario.migration.effective("10.0")["max-bandwidth"] == 125_000_000


def test_a_scenario_round_trips_through_toml_and_a_file(tmp_path):
    scenario = LabScenario.from_toml(TEXT)
    path = tmp_path / "s.toml"
    path.write_text(scenario.to_toml())
    assert LabScenario.load(path) == scenario
    assert LabScenario.from_dict(scenario.as_dict()) == scenario


def test_nothing_can_be_changed_but_copied():
    scenario = LabScenario.from_toml(TEXT)
    with pytest.raises(Exception, match="frozen"):
        scenario.name = "x"  # type: ignore[misc]  # a frozen class: mypy knows it too
    assert scenario.replace(name="other").name == "other"
    with pytest.raises(ScenarioError):
        scenario.replace(name="")


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ("share =", "shares =", ScenarioError, "guest.workload.classes.0.shares is unknown.*'share'"),
        ("settle-s", "settle-sec", ScenarioError, "settle-s"),
        ("[qemu]", "[quemu]", ScenarioError, "qemu"),
        ('"1Gbps"', '"1G"', UnitError, "max-bandwidth.*three readings"),
        ('"4GiB"', '"4G"', ScenarioError, "guest.ram-bytes is '4G'.*4GiB"),
        ('"4GiB"', "4097", ScenarioError, "whole MiB"),
        ("max-bandwidth", "max-bandwith", ParameterError, "Did you mean 'max-bandwidth'"),
        ("\npages = 100", "\npages = -1", ScenarioError, r"classes.0.pages is -1"),
        ("\npages = 100", "\npages = 100000000", ScenarioError, "ram-bytes holds 1048576 pages"),
        ('"10.0"', "10.0", ScenarioError, "qemu.version is 10.0"),
        ('"10.0"', '"ten"', ParameterError, "ten"),
        ('name = "busy-4g"', "", ScenarioError, "name is missing"),
        ('name = "busy-4g"', 'name = "a/b"', ScenarioError, "name is 'a/b'"),
        ("auto-converge", "dirty-limit", ScenarioError, "dirty-ring-size"),
        ("auto-converge = true", "xbzrle = true\nmultifd = true", ParameterError, "does not combine"),
        ('version = "10.0"', 'version = "7.2"\ndirty-ring-size = 1000', ScenarioError, "power of two"),
        ('version = "10.0"', 'version = "7.2"\naccel = "tcg"\ndirty-ring-size = 4096', ScenarioError, "KVM"),
        ("touched-pages = 1000", 'pace = "clock"', ScenarioError, "writes-per-s"),
        ("touched-pages = 1000", "writes-per-s = 5", ScenarioError, "closed"),
        ("share = 0.9", 'pattern = "zip"', ScenarioError, "zipf"),
        ("share = 0.9", "share = nan", ScenarioError, "share"),
        ('ram-bytes = "4GiB"', 'ram-bytes = "4GiB"\nmemory = "aliased"', ScenarioError, "alias-bytes"),
        (
            'ram-bytes = "4GiB"',
            'ram-bytes = "4GiB"\nmemory = "aliased"\nalias-bytes = "3GiB"',
            ScenarioError,
            "multiple",
        ),
        ("[guest]", "[guest", ScenarioError, "not TOML"),
    ],
)
def test_errors_say_file_place_rule_and_what_to_do(tmp_path, old, new, kind, says):
    path = tmp_path / "bad.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(kind, match=says) as caught:
        LabScenario.load(path)
    assert "bad.toml" in caught.value.what
    assert caught.value.rule
    assert caught.value.todo


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        LabScenario.load(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not text"):
        LabScenario.load(tmp_path / "b.toml")


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)), st.text(max_size=3))
def test_a_damaged_scenario_is_read_or_refused_with_our_error(start, length, inserted):
    damaged = TEXT[:start] + inserted + TEXT[start + length // 8 :]
    try:
        LabScenario.from_toml(damaged)
    except MigsimError as error:
        assert error.exit_code == 3


classes = st.builds(
    PageClass,
    base_page=st.integers(0, 1000),
    pages=st.integers(1, 1000),
    share=st.floats(1e-3, 1e3),
    pattern=st.sampled_from(["random", "sweep", "zipf"]),
    content=st.sampled_from(["bytes", "page", "zero"]),
    changed_bytes=st.integers(1, 4096),
)
guests = st.builds(
    GuestSpec,
    ram_bytes=st.integers(8, 2**20).map(lambda mib: mib << 20),
    vcpus=st.integers(1, 8),
    workload=st.builds(
        GuestWorkload,
        touched_pages=st.integers(0, 2000),
        classes=st.lists(classes, max_size=3).map(tuple),
        check=st.booleans(),
        fill=st.sampled_from(["word", "page"]),
        work=st.integers(0, 1000),
        report_s=st.floats(0.01, 100),
        seed=st.integers(0, 2**62),
    ),
)


@settings(deadline=None)
@given(guests, st.integers(1, 10**12), st.floats(0, 1e4), st.sampled_from(["unix", "tcp"]))
def test_any_scenario_round_trips(guest, bandwidth, settle_s, transport):
    scenario = LabScenario(
        name="x",
        qemu=QemuSpec(version="7.2", extra_arguments=("-cpu", 'a "b"')),
        guest=guest,
        migration=MigrationSettings(parameters={"max-bandwidth": bandwidth}),
        settle_s=settle_s,
        transport=transport,
    )
    assert LabScenario.from_toml(scenario.to_toml()) == scenario


def test_the_command_may_name_an_environment_variable(monkeypatch):
    qemu = LabScenario.from_toml(TEXT).qemu
    monkeypatch.delenv("MIGSIM_TEST_QEMU", raising=False)
    with pytest.raises(ScenarioError, match="MIGSIM_TEST_QEMU"):
        qemu.expanded_command()
    monkeypatch.setenv("MIGSIM_TEST_QEMU", "/opt/q10/qemu -L /opt/q10/share")
    assert qemu.expanded_command() == "/opt/q10/qemu -L /opt/q10/share -L share"
    assert QemuSpec(command="${MIGSIM_TEST_QEMU}", version="10.0").expanded_command().endswith("q10/share")
    assert QemuSpec(version="10.0").expanded_command() == "qemu-system-x86_64"


def test_settings_from_words():
    read = MigrationSettings.parse(["max-bandwidth=10Gbps", "downtime-limit=300", "auto-converge=on"], "10.0")
    assert read.parameters == {"max-bandwidth": 1_250_000_000, "downtime-limit": 300}
    assert read.capabilities == {"auto-converge": True}
    assert MigrationSettings.parse(["tls-creds=a=b"], "10.0").parameters == {"tls-creds": "a=b"}
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        MigrationSettings.parse(["max-bandwidth"], "10.0")
    with pytest.raises(ParameterError, match=r"8\.1"):
        MigrationSettings.parse(["dirty-limit=on"], "7.2")
