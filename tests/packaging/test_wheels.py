"""What the program that builds wheels decides: targets, flags, toolchains, licences and faults."""

from __future__ import annotations

import _ctypes
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from wheels import archive, building, checks, elf, licences, sbom, sdist, targets, toolchain

TREE = Path(__file__).parents[2]
HOST = targets.Target("cp313", "manylinux", platform.machine())


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("cp313-manylinux-x86_64", ["cp313-manylinux-x86_64"]),
        (
            "cp310-musllinux-aarch64, cp315-manylinux-x86_64",
            ["cp310-musllinux-aarch64", "cp315-manylinux-x86_64"],
        ),
        ("cp314-*-x86_64", ["cp314-manylinux-x86_64", "cp314-musllinux-x86_64"]),
        ("cp314-*-x86_64 cp314-musllinux-*", None),
    ],
)
def test_wheels_are_chosen_by_name(names, chosen):
    found = [target.name for target in targets.named(names)]
    if chosen is None:
        chosen = list(dict.fromkeys(found))
        assert len(chosen) == 3
    assert found == chosen


def test_all_wheels_are_built_without_a_name():
    assert targets.named(" ") == targets.ALL
    assert len(set(targets.ALL)) == 28


@pytest.mark.parametrize("name", ["cp39-manylinux-x86_64", "cp313-manylinux", "*", "cp313-glibc-*"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(targets.UnknownTarget, match="cp313-manylinux-x86_64") as refusal:
        targets.named(f"cp313-manylinux-x86_64 {name}")
    assert repr(name) in str(refusal.value)


@pytest.mark.parametrize("target", targets.ALL, ids=lambda target: target.name)
def test_a_wheel_has_the_name_that_installers_look_for(target):
    packaging_tags = pytest.importorskip("packaging.tags")
    name = target.wheel_name("1.2.3")
    assert targets.of_wheel(name) == target
    compatible = {
        str(tag)
        for platform_tag in target.platform_tag.split(".")
        for tag in packaging_tags.cpython_tags(
            tuple(map(int, target.version.removesuffix("t").split("."))),
            abis=[target.python],
            platforms=[platform_tag],
        )
    }
    assert compatible & {f"{target.python_tag}-{tag}" for tag in target.platform_tag.split(".")}


@pytest.mark.parametrize("name", ["lockgate-1.0.tar.gz", "flask-3.1-py3-none-any.whl"])
def test_a_file_of_another_kind_has_no_target(name):
    assert targets.of_wheel(name) is None


def job(target, folder):
    return building.Job(
        target, folder, folder / "dist", "release", 1_700_000_000, folder / "target"
    )


@pytest.mark.parametrize(
    ("python", "suffix"),
    [
        ("cp310", ".cpython-310-aarch64-linux-gnu.so"),
        ("cp311", ".cpython-311-aarch64-linux-musl.so"),
        ("cp314t", ".cpython-314t-aarch64-linux-musl.so"),
    ],
)
def test_a_module_for_musl_is_called_as_its_python_looks_for_it(python, suffix):
    assert targets.Target(python, "musllinux", "aarch64").extension_suffix == suffix


def test_flags_of_the_shell_do_not_reach_the_build(monkeypatch, tmp_path):
    monkeypatch.setenv("RUSTFLAGS", "-Ctarget-cpu=native")
    monkeypatch.setenv("CFLAGS", "-march=native")
    rust = toolchain.Toolchain("", "1.97.1", tmp_path / "rust")
    for target in targets.ALL:
        variables = building.environment(job(target, tmp_path), rust)
        assert "native" not in " ".join(variables.values()), target
        assert variables["SOURCE_DATE_EPOCH"] == "1700000000"
        flags = variables["CARGO_ENCODED_RUSTFLAGS"].split("\x1f")
        assert f"--remap-path-prefix={tmp_path}=/lockgate" in flags
        assert ("-Ctarget-feature=-crt-static" in flags) == (target.libc == "musllinux")
        c_flags = variables[f"CFLAGS_{target.triple.replace('-', '_')}"]
        assert f"-ffile-prefix-map={tmp_path}=/lockgate" in c_flags


@pytest.mark.parametrize("builds_std", [False, True])
def test_maturin_compiles_the_standard_library_only_if_none_is_there(tmp_path, builds_std):
    rust = toolchain.Toolchain("", "1.97.1", tmp_path / "rust", builds_std=builds_std)
    target = targets.Target("cp315", "musllinux", "aarch64")
    words = " ".join(building.command(job(target, tmp_path), rust, tmp_path))
    assert "--target aarch64-unknown-linux-musl --compatibility musllinux_1_2" in words
    assert "--interpreter python3.15" in words
    assert ("build-std" in words) == builds_std


def test_a_missing_standard_library_is_named_with_what_to_do(tmp_path):
    with pytest.raises(toolchain.ToolchainMissing, match="rustup target add riscv64gc-unknown"):
        toolchain.choose("riscv64gc-unknown-netbsd", tmp_path / "nothing", tmp_path)


def test_the_rust_on_path_is_taken_where_it_has_the_standard_library(tmp_path):
    host = toolchain.output("rustc", "-vV").split("host: ")[1].split()[0]
    chosen = toolchain.choose(host, tmp_path / "nothing", tmp_path)
    assert chosen.folder is None
    assert not chosen.builds_std


def test_licences_are_those_of_crates_that_are_linked():
    packages = [
        {
            "name": name,
            "version": version,
            "license": licence,
            "repository": None,
            "manifest_path": f"/crates/{name}-{version}/Cargo.toml",
        }
        for name, version, licence in (
            ("lockgate-tls", "0.1.0", "MIT OR Apache-2.0"),
            ("rustls", "0.23.46", "Apache-2.0 OR ISC OR MIT"),
            ("untrusted", "0.7.1", "ISC"),
            ("untrusted", "0.9.0", "ISC"),
            ("asn1-rs-impl", "0.2.0", "MIT/Apache-2.0"),
            ("ring", "0.17.14", "Apache-2.0 AND ISC"),
        )
    ]
    used = """lockgate-tls v0.1.0 (/lockgate/crates/lockgate-tls)
        untrusted v0.9.0
        rustls v0.23.46
        asn1-rs-impl v0.2.0
        rustls v0.23.46
    """
    crates = licences.crates_of({"packages": packages}, used)
    assert [crate.title for crate in crates] == [
        "asn1-rs-impl 0.2.0 (MIT OR Apache-2.0)",
        "rustls 0.23.46 (Apache-2.0 OR ISC OR MIT)",
        "untrusted 0.9.0 (ISC)",
    ]
    assert crates[2].folder == Path("/crates/untrusted-0.9.0")


def test_a_licence_that_several_crates_have_is_printed_once(tmp_path):
    crates = []
    for name, text in (("one", "Text A"), ("two", "Text A"), ("three", "Text B"), ("four", None)):
        folder = tmp_path / name
        folder.mkdir()
        if text:
            (folder / "LICENSE-MIT").write_text(f"{text}\n")
        (folder / "license.rs").write_text("not a licence")
        crates.append(licences.Crate(name, "1.0", "MIT", "", folder))
    text = licences.document(crates, "1.97.1")
    assert text.count("Text A") == text.count("Text B") == 1
    assert "one 1.0 (MIT)\ntwo 1.0 (MIT)\n---" in text
    assert "have no licence file; their metadata names the licence:\nfour 1.0 (MIT)" in text
    assert "not a licence" not in text


def bill(folder, serial, moment):
    """A bill of materials as maturin writes it for sources in `folder`."""
    own = {"bom-ref": f"path+file://{folder}/crates/lockgate-http#1.0", "name": "lockgate-http"}
    parts = [{"bom-ref": f"registry#{name}", "name": name} for name in ("rustls", "winapi")]
    top = f"path+file://{folder}/crates/lockgate-python#1.0"
    rows = [
        {"ref": top, "dependsOn": [own["bom-ref"], "registry#rustls", "registry#winapi"]},
        {"ref": "registry#rustls"},
        {"ref": "registry#winapi"},
    ]
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "serialNumber": serial,
            "metadata": {"timestamp": moment, "component": {"bom-ref": top}, "properties": []},
            "components": [{**part, "version": "0.23.46"} for part in (own, *parts)],
            "dependencies": rows,
        }
    )


def test_a_bill_of_materials_lists_what_is_linked_and_is_the_same_everywhere():
    one, other = (
        sbom.normalised(bill(folder, serial, moment), [CRATE], Path(folder), 1_700_000_000)
        for folder, serial, moment in (("/a", "urn:1", "now"), ("/b/c", "urn:2", "later"))
    )
    assert one == other
    read = json.loads(one)
    assert [part["name"] for part in read["components"]] == ["lockgate-http", "rustls"]
    assert read["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert read["dependencies"][0]["dependsOn"][1:] == ["registry#rustls"]
    assert "winapi" not in one


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """An extension module of this machine that has nothing but its entry point."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "module.c").write_text("void *PyInit__lockgate(void) { return 0; }\n")
    command = ["cc", "-shared", "-fPIC", "-nostdlib", "-s", "-o", "module.so", "module.c"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "module.so").read_bytes()


CRATE = licences.Crate("rustls", "0.23.46", "MIT", "", Path("/nowhere"))
INFO = "lockgate-1.2.3.dist-info"
MAN_PAGE = "lockgate-1.2.3.data/data/share/man/man1/lockgate.1"
LICENCE = f"{INFO}/licenses/{checks.THIRD_PARTY}"
BILL = f"{INFO}/sboms/lockgate.cyclonedx.json"
MODULE = f"lockgate/_lockgate{HOST.extension_suffix}"


@pytest.fixture
def good(tmp_path, module):
    """A wheel without a fault, as written; and what it is compared with."""
    tags = "".join(f"Tag: cp313-cp313-{tag}\n" for tag in HOST.platform_tag.split("."))
    components = [{"name": CRATE.name, "version": CRATE.version}]
    members = {
        "lockgate/__init__.py": b"",
        "lockgate/py.typed": b"",
        MODULE: module,
        MAN_PAGE: b".TH LOCKGATE 1",
        f"{INFO}/METADATA": b"Metadata-Version: 2.4\nName: lockgate\nVersion: 1.2.3\n"
        b"License-Expression: MIT OR Apache-2.0\nLicense-File: LICENSE-MIT\n\nA server.\n",
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n{tags}".encode(),
        f"{INFO}/entry_points.txt": b"",
        f"{INFO}/licenses/LICENSE-MIT": b"MIT",
        BILL: json.dumps({"bomFormat": "CycloneDX", "components": components}).encode(),
    }
    wheel = archive.Wheel(tmp_path / HOST.wheel_name("1.2.3"), members)
    text = licences.document([CRATE], "1.97.1")
    archive.write(archive.with_licence(wheel, checks.THIRD_PARTY, text), 1_700_000_000)
    expected = checks.Expectation(
        target=HOST,
        version="1.2.3",
        data_files=frozenset({"share/man/man1/lockgate.1"}),
        crates=(CRATE,),
        private_paths=("/home/builder/",),
        max_bytes=100_000,
    )
    return archive.Wheel.read(wheel.path), expected


def test_a_wheel_as_it_is_built_has_no_fault(good):
    wheel, expected = good
    assert checks.faults(wheel, expected) == []
    assert f"License-File: {checks.THIRD_PARTY}\n\nA server." in wheel.metadata("METADATA")


def test_members_are_written_in_one_order_with_one_time(good):
    wheel, _ = good
    before = wheel.path.read_bytes()
    shuffled = dict(sorted(wheel.members.items(), reverse=True))
    archive.write(archive.Wheel(wheel.path, shuffled), 1_700_000_000)
    assert wheel.path.read_bytes() == before
    with zipfile.ZipFile(io.BytesIO(before)) as opened:
        assert {entry.date_time for entry in opened.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert opened.namelist()[-1] == f"{INFO}/RECORD"


@pytest.mark.parametrize(
    ("member", "content", "fault"),
    [
        (MAN_PAGE, None, "lockgate.1 is missing"),
        (MODULE, None, "the wheel has the extension modules []"),
        ("lockgate/__init__.py", b"changed", "differs from its digest or size in RECORD"),
        ("lockgate/extra.py", b"", "lockgate/extra.py is missing in RECORD"),
        ("lockgate/app.pyc", b"", "lockgate/app.pyc does not belong into a wheel"),
        ("lockgate/path.txt", b"at /home/builder/x\0y", "machine that built it: /home/builder/x"),
        (LICENCE, b"rustls 0.1", "does not name rustls 0.23.46 (MIT)"),
        (LICENCE, None, f"names the licence file {checks.THIRD_PARTY}, which is not in the wheel"),
        (BILL, None, "no SBOM is in sboms/"),
        (BILL, b'{"bomFormat": "CycloneDX"}', "does not list rustls 0.23.46"),
        (BILL, b'{"bomFormat": "SPDX"}', "is no CycloneDX"),
        (f"{INFO}/WHEEL", b"Root-Is-Purelib: false\nTag: py3-none-any\n", "['py3-none-any']"),
        (f"{INFO}/METADATA", b"Name: lockgate\nVersion: 9\n\n", "Version is '9', not '1.2.3'"),
    ],
)
def test_a_fault_of_a_wheel_is_found(good, member, content, fault):
    wheel, expected = good
    members = {**wheel.members, member: content}
    changed = replace(wheel, members={k: v for k, v in members.items() if v is not None})
    assert fault in "\n".join(checks.faults(changed, expected))


def test_a_wheel_of_another_name_or_size_is_found(good):
    wheel, expected = good
    renamed = replace(wheel, path=wheel.path.rename(wheel.path.with_name("lockgate-1.whl")))
    found = checks.faults(renamed, replace(expected, max_bytes=100))
    assert found[0].startswith("the file is called lockgate-1.whl, not lockgate-1.2.3-cp313")
    assert found[-1].endswith("at most 100 are expected")


LIBRARY = elf.SharedLibrary(
    architecture="x86_64",
    exports=checks.entry_points(HOST),
    libraries=frozenset({"libc.so.6"}),
    versions=frozenset({("GLIBC", (2, 17)), ("GCC", (4, 2, 0))}),
    search_paths=(),
    has_symbol_table=False,
    has_executable_stack=False,
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"architecture": "aarch64"}, "the module is for aarch64"),
        ({"exports": checks.entry_points(HOST) | {"AES_encrypt"}}, "exports ['AES_encrypt'"),
        ({"libraries": frozenset({"libssl.so.3"})}, "needs libssl.so.3, which manylinux2014"),
        ({"versions": frozenset({("GLIBC", (2, 34))})}, "GLIBC 2.34, newer than manylinux2014"),
        ({"versions": frozenset({("GLIBC_PRIVATE", ())})}, "needs GLIBC_PRIVATE"),
        ({"search_paths": ("/opt/lib",)}, "looks for libraries in /opt/lib"),
        ({"has_symbol_table": True}, "not stripped"),
        ({"has_executable_stack": True}, "makes the stack executable"),
    ],
)
def test_a_module_that_an_old_system_cannot_load_is_found(change, fault):
    target = targets.Target("cp313", "manylinux", "x86_64")
    found = list(checks.library_faults(replace(LIBRARY, **change), target))
    assert (not found) if fault is None else fault in found[0]


def test_a_module_for_python_3_15_has_both_of_its_entry_points():
    target = targets.Target("cp315", "manylinux", "x86_64")
    both = LIBRARY.exports | {"PyModExport__lockgate"}
    assert not list(checks.library_faults(replace(LIBRARY, exports=both), target))
    (fault,) = checks.library_faults(LIBRARY, target)
    assert fault.startswith("the module exports ['PyInit__lockgate'], not only")


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({"libraries": frozenset({"libc.so"}), "versions": frozenset()}, 0),
        ({"libraries": frozenset({"libc.so", "libgcc_s.so.1"}), "versions": frozenset()}, 1),
        ({"libraries": frozenset({"libc.so"})}, 2),
    ],
)
def test_a_module_for_musl_needs_musl_alone(change, faults):
    target = targets.Target("cp313", "musllinux", "x86_64")
    assert len(list(checks.library_faults(replace(LIBRARY, **change), target))) == faults


def test_the_module_of_this_machine_is_read(module, tmp_path):
    library = elf.read(module)
    assert library.exports == checks.entry_points(HOST)
    assert library.architecture == platform.machine()
    assert not library.has_symbol_table
    # A module of the interpreter is linked against a versioned C library.
    own = elf.read(Path(_ctypes.__file__).read_bytes())
    assert "libc.so.6" in own.libraries
    assert any(name == "GLIBC" for name, _ in own.versions)


def test_the_wheel_that_is_tested_has_what_published_ones_have():
    """Its platform and its paths are those of this machine; the rest is the same."""
    (path,) = (Path(sys.prefix) / "wheels").glob("*.whl")
    wheel = archive.Wheel.read(path)
    target = replace(HOST, python=path.name.split("-")[2])
    crates = licences.linked_crates(TREE, target.triple)
    version = path.name.split("-")[1]
    expected = checks.Expectation(target, version, checks.data_files(TREE), tuple(crates), (), 0)
    found = [
        fault
        for check in (
            checks.record_fits,
            checks.metadata_fits,
            checks.has_its_files,
            checks.bill_of_materials_is_there,
        )
        for fault in check(wheel, expected)
    ]
    assert found == []
    (module,) = (name for name in wheel.members if name.endswith(".so"))
    assert elf.read(wheel.members[module]).exports == checks.entry_points(target)


def vendored(folder, name, source="pub fn f() {}"):
    """A crate as `cargo vendor` writes it."""
    crate = folder / name
    (crate / "src").mkdir(parents=True)
    (crate / "src/lib.rs").write_text(source)
    (crate / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "1.0.0"\n')
    sums = {"files": {"src/lib.rs": "ab12"}, "package": "cd34"}
    (crate / ".cargo-checksum.json").write_text(json.dumps(sums))
    return crate


def test_a_crate_that_no_platform_builds_keeps_its_name_alone(tmp_path):
    crate = vendored(tmp_path, "windows-sys-0.61.2")
    (crate / "lib").mkdir()
    sdist.empty(crate)
    files = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert files == {".cargo-checksum.json", "Cargo.toml", "src/lib.rs"}
    assert (crate / "src/lib.rs").read_text() == ""
    # Cargo compares this with Cargo.lock.
    sums = json.loads((crate / ".cargo-checksum.json").read_text())
    assert sums == {"files": {}, "package": "cd34"}


def test_crates_are_found_by_name_and_version():
    listed = (
        "lockgate-tls v0.1.0 (/x/crates/lockgate-tls)\nrustls v0.23.46\nrustls v0.23.46 (*)\n\n"
    )
    assert sdist.built_crates(listed) == {"lockgate-tls-0.1.0", "rustls-0.23.46"}


def test_a_source_distribution_is_the_same_wherever_it_is_packed(tmp_path):
    archives = []
    for folder, moment in (("one", 1_000_000_000), ("two/three", 1_100_000_000)):
        tree = tmp_path / folder / "lockgate-1.0"
        vendored(tree, "rustls")
        (tree / "configure").write_text("#!/bin/sh\n")
        (tree / "configure").chmod(0o700)
        for path in tree.rglob("*"):
            os.utime(path, (moment, moment))
        archives.append(tmp_path / f"{moment}.tar.gz")
        sdist.write(tree, archives[-1], 1_700_000_000)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as packed:
        modes = {member.name: member.mode for member in packed}
    assert modes["lockgate-1.0/configure"] == 0o755
    assert modes["lockgate-1.0/rustls/src/lib.rs"] == 0o644


@pytest.mark.parametrize(
    ("change", "fault"),
    [(None, None), (sdist.empty, "vendor/one-1.0.0 has no sources"), (shutil.rmtree, "cargo: ")],
)
def test_a_source_distribution_without_a_crate_is_refused(tmp_path, change, fault):
    """Two crates beside each other, one of which the other needs; without a network."""
    tree = tmp_path / "lockgate-1.0"
    package = tree / "crates/lockgate-python"
    (package / "src").mkdir(parents=True)
    (package / "src/lib.rs").touch()
    (package / "Cargo.toml").write_text(
        '[package]\nname = "lockgate-python"\nversion = "1.0.0"\n[dependencies]\none = "1"\n'
    )
    (tree / "Cargo.toml").write_text('[workspace]\nresolver = "3"\nmembers = ["crates/*"]\n')
    (tree / "Cargo.lock").write_text(
        'version = 4\n\n[[package]]\nname = "lockgate-python"\nversion = "1.0.0"\n'
        'dependencies = [\n "one",\n]\n\n[[package]]\nname = "one"\nversion = "1.0.0"\n'
        'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "cd34"\n'
    )
    crate = vendored(tree / "vendor", "one")
    crate.rename(tree / "vendor/one-1.0.0")
    if change:
        change(tree / "vendor/one-1.0.0")
    (tree / ".cargo").mkdir()
    (tree / ".cargo/config.toml").write_text(sdist.CONFIGURATION)
    archive = tmp_path / "lockgate-1.0.tar.gz"
    sdist.write(tree, archive, 1_700_000_000)
    found = sdist.faults(archive)
    assert (not found) if fault is None else fault in found[0]
