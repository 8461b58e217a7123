"""The one writer and the one reader of files: others' files are not touched, and nothing is believed before it is checked."""

import errno
import io
import json
import multiprocessing
import os
import socket
import stat
import struct
import threading
import zipfile

import numpy as np
import pytest

from minillm.ground import arrays, files, schema
from minillm.ground.arrays import Arrays, read_arrays, read_meta, write_arrays
from minillm.ground.files import (
    CheckpointError,
    digest,
    digest_of,
    parsed,
    read_bytes,
    read_json,
    writable,
    write_json,
    write_text,
    written_whole,
)
from minillm.ground.locks import alone
from minillm.ground.runtime import CAN_FORK

META = {"kind": "model"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


def names(folder):
    return sorted(each.name for each in folder.iterdir())


# ---- written

def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path):
    there, link = tmp_path / "there" / "notes.json", tmp_path / "notes.json"
    write_json(there, {"old": 1})
    link.symlink_to(there)
    write_json(link, {"new": 2})
    assert link.is_symlink() and json.loads(there.read_text()) == {"new": 2}
    assert names(tmp_path) == ["notes.json", "there"] and names(there.parent) == ["notes.json"]


def test_a_link_that_was_planted_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    victim, name = tmp_path / "victim", tmp_path / "notes.json"
    victim.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0000")
    (tmp_path / ".notes.0000.part.json").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_json(name, {})
    assert (tmp_path / ".notes.0000.part.json").is_symlink()
    assert victim.read_text() == "precious" and not name.exists()


@pytest.mark.skipif(not CAN_FORK, reason="processes cannot be forked here")
def test_what_was_interrupted_before_its_block_began_is_removed_by_the_process_that_wrote_it(path):
    opening = written_whole(path)
    opening.__enter__()
    fork = multiprocessing.get_context("fork").Process(target=files.remove_unfinished)
    fork.start()
    fork.join()
    assert len(names(path.parent)) == 1
    files.remove_unfinished()
    assert not names(path.parent)
    write_json(path, {})
    del opening
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "link to a device"])
def test_what_is_no_regular_file_is_never_replaced(kind, tmp_path):
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(target))
        listener.close()
    else:
        target = "/dev/null" if kind == "device" else target
        if kind != "device":
            target.symlink_to("/dev/null")
    before = os.stat(target)
    with pytest.raises(ValueError, match="choose another name"):
        write_json(target, {})
    assert stat.S_IFMT(os.stat(target).st_mode) == stat.S_IFMT(before.st_mode) and names(tmp_path) in ([], ["out"])


@pytest.mark.parametrize("name", ["a" * 250 + ".npz", "ü" * 120 + ".npz", "with space", "new\nline.json", "-dash", ".hidden",
                                  "x.y.z", "a." + "b" * 100])
def test_any_name_that_the_disk_takes_will_do(name, tmp_path):
    write_text(tmp_path / name, "content")
    assert (tmp_path / name).read_text() == "content" and names(tmp_path) == [name]


def test_permissions_of_a_file_that_is_replaced_are_kept(tmp_path):
    write_json(tmp_path / "notes.json", {})
    (tmp_path / "notes.json").chmod(0o640)
    write_json(tmp_path / "notes.json", {"new": 1})
    assert stat.S_IMODE((tmp_path / "notes.json").stat().st_mode) == 0o640


def test_everything_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """Contents first, the meta.json at the end of the archive included; then the name; then the folder that has it."""
    done, real_sync, real_replace = [], files.sync, os.replace
    monkeypatch.setattr(files, "sync", lambda path: (done.append(("sync", path.is_dir(), path.is_dir() or "meta.json" in
                                                                  zipfile.ZipFile(path).namelist())), real_sync(path)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("replace"), real_replace(*names)))
    write_arrays(tmp_path / "a.npz", {"x": np.ones(3)}, META)
    assert done == [("sync", False, True), "replace", ("sync", True, True)]


def killed_while_writing(path):
    with written_whole(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), 9)


def test_what_a_killed_process_has_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    path = tmp_path / "notes.json"
    writer = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=(path,))
    writer.start()
    writer.join()
    [left] = names(tmp_path)
    for name in (".notes.part.json", ".notes.0123.part.json", ".other.01234567.part.json", "notes.01234567.part.json"):
        (tmp_path / name).write_text("somebody's own")
    with written_whole(path) as first:                      # which is at work, and not abandoned
        first.write_text("1")
        write_json(path, 2)
        assert first.exists() and left not in names(tmp_path)
    assert path.read_text() == "1" and len(names(tmp_path)) == 5


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError) as error, written_whole(tmp_path / "notes.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "notes.json") and names(tmp_path) == []


def write_often(folder, who):
    for i in range(100):
        write_arrays(folder / "one.npz", {"x": np.full(2000, who)}, META | {"who": who, "i": i})


def test_two_that_write_one_file_at_a_time_never_leave_a_mixture(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_often, args=(tmp_path, who)) for who in (1, 2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "one.npz").exists():
            arrays, meta = read_arrays(tmp_path / "one.npz")
            assert (arrays["x"] == meta["who"]).all()
            seen.add(meta["who"])
    assert [writer.exitcode for writer in writers] == [0, 0] and names(tmp_path) == ["one.npz"] and seen


def test_json_for_others_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": -float("inf")}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [1.5, None], "c": {"d": None}}


def test_a_folder_is_tried_with_no_file_of_anybody_touched(tmp_path):
    (tmp_path / "try").write_text("mine")
    writable(tmp_path)
    writable(tmp_path / "new" / "er")
    assert names(tmp_path) == ["new", "try"] and (tmp_path / "try").read_text() == "mine"
    with pytest.raises(ValueError, match="is a file, where a folder is needed"):
        writable(tmp_path / "try")


# ---- locks

def test_who_comes_second_is_told_and_who_comes_after_gets_in(tmp_path):
    with alone(tmp_path / "full.npz"):
        with pytest.raises(ValueError, match="another minillm is at work on .*full.npz"), alone(tmp_path / "full.npz"):
            pass
        with alone(tmp_path / "other.npz"):
            pass
    with alone(tmp_path / "full.npz"):
        assert names(tmp_path) == [".full.npz.lock"]
    assert names(tmp_path) == []


def hold(folder, held):
    with alone(folder / "full.npz"):
        held.set()
        threading.Event().wait()


def test_a_lock_ends_with_its_owner(tmp_path):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    owner = context.Process(target=hold, args=(tmp_path, held))
    owner.start()
    assert held.wait(120)
    with pytest.raises(ValueError), alone(tmp_path / "full.npz"):
        pass
    owner.kill()
    owner.join()
    assert names(tmp_path) == [".full.npz.lock"]
    with alone(tmp_path / "full.npz"):
        pass
    assert names(tmp_path) == []


# ---- read

@pytest.mark.parametrize("read", [lambda path: read_bytes(path, 100), read_meta, digest,
                                  lambda path: read_json(path, schema.anything, "note")], ids=["bytes", "npz", "digest", "json"])
@pytest.mark.parametrize("kind, message", [("missing", "there is no file"), ("folder", "is a folder"), ("pipe", "is a pipe"),
                                           ("device", "is a device"), ("loop", "cannot be read"), ("long", "cannot be read"),
                                           ("null", "cannot be the name")])
def test_what_is_no_file_is_not_read(kind, message, read, tmp_path):
    target = tmp_path / "it"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "loop":
        target.symlink_to(target)
    target = {"device": "/dev/zero", "long": tmp_path / ("x" * 300), "null": "a\0b"}.get(kind, target)
    with pytest.raises(CheckpointError, match=message):
        read(target)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_reported_as_that(path):
    write_arrays(path, {}, META)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_meta(path)


@pytest.mark.parametrize("content, message", [
    (b"[" * 100_000, "nested too deeply|far too much"), (b"[],", "not JSON"), (b"[" + b"[]," * 600_000 + b"1]", "far too much"),
    (b"\xff{}", "not JSON"), (b"1" * 5000, "not JSON"), (b"", "not JSON"), (b'{"a": ' * 5000, "nested too deeply|not JSON")])
def test_json_that_cannot_be_read_in_bounds(content, message):
    with pytest.raises(CheckpointError, match=message):
        parsed(content, "it.json")


def npy(array=None, descr="<f4", shape="(3,)", fortran="False", magic=b"\x93NUMPY\x01\x00", length=None, data=None):
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    header = header.ljust(118) + b"\n"
    return magic + struct.pack("<H", len(header) if length is None else length) + header + (
        np.ones(3, np.float32).tobytes() if data is None else data)


def packed(path, members, compression=zipfile.ZIP_STORED, meta=None):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.writestr("meta.json", json.dumps({"format": arrays.FORMAT} | META) if meta is None else meta)


def test_a_member_as_it_should_be(path):
    packed(path, [("x.npy", npy())])
    arrays, meta = read_arrays(path)
    assert arrays["x"].tolist() == [1, 1, 1] and meta["kind"] == "model"


BAD_MEMBERS = {
    "structured": npy(descr=[("a", "<f4")]), "object": npy(descr="|O"), "text": npy(descr="<U1"), "date": npy(descr="<M8[s]"),
    "bool": npy(descr="|b1", data=b"abc"), "complex": npy(descr="<c8", data=b"\0" * 24), "half": npy(descr="<f2", data=b"\0" * 6),
    "big-endian": npy(descr=">f4"), "unsigned": npy(descr="<u4"), "void": npy(descr="|V4"),
    "negative": npy(shape="(-3,)"), "bool shape": npy(shape="(True,)", data=b"\0" * 4), "huge": npy(shape=f"({10 ** 30},)"),
    "larger": npy(shape="(4,)"), "smaller": npy(shape="(2,)"), "float shape": npy(shape="(3.0,)"),
    "many axes": npy(shape=f"({'1,' * 20}3)"),
    "no tuple": npy(shape="3"), "code": npy(shape="__import__('os')"), "format 2": npy(magic=b"\x93NUMPY\x02\x00"),
    "long header": npy(length=65535), "short": npy()[:30], "nothing": b"", "no array": b"Dear model,",
    "fortran": npy(fortran="'yes'")}


@pytest.mark.parametrize("content", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_a_member_that_is_not_as_it_should_be(content, path, recwarn):
    packed(path, [("x.npy", content)])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_meta(path)
    assert not recwarn


def test_a_header_that_claims_gigabytes_is_not_believed(path):
    """Format 2.0 has four bytes for the length of a header."""
    packed(path, [("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2 ** 32 - 1) + b" " * 1000)])
    with pytest.raises(CheckpointError):
        read_meta(path)


@pytest.mark.parametrize("members, message", [
    ([("x.npy", npy()), ("x.npy", npy())], "two of its parts"), ([("photo.jpg", b"\xff\xd8")], "is not an array"),
    ([("../x.npy", npy()), ("folder/", b"")], "is not an array")], ids=["twice", "photo", "folder"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_should_not_be_there(members, message, path):
    packed(path, members)
    with pytest.raises(CheckpointError, match=message):
        read_meta(path)


def test_compressed_arrays_are_refused_since_nobody_knows_how_large_they_become(path):
    packed(path, [("x.npy", npy(shape="(10000000,)", data=b"\0" * 40_000_000))], zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        read_meta(path)


def test_a_vocabulary_of_another_script_can_be_read_again(path):
    """As JSON's escapes, it would have three times the bytes, and more than are read."""
    tokens = ["\u00e4\u00b8\u0143\u00e5\u013d\u00bd\u00e4\u00ba\u00ba\u00e6\u00b0\u0133"] * 250_000
    meta = META | {"tokenizer": {"tokens": tokens, "merges": [f"{token[:6]} {token[6:]}" for token in tokens]}}
    write_arrays(path, {}, meta)
    assert read_meta(path)["tokenizer"] == meta["tokenizer"]


def test_the_name_of_a_file_that_is_not_utf_8_survives_in_meta(path):
    for name in ("caf\u00e9", os.fsdecode(b"caf\xe9.txt"), "\ud83d", '"\udcff\\', "\U0001f600"):
        write_arrays(path, {}, META | {"path": name})
        assert read_meta(path)["path"] == name


@pytest.mark.parametrize("limit, meta", [("JSON_BYTES", {"text": "x" * 2000}), ("JSON_BYTES", {"text": "\u00e9" * 600}),
                                         ("JSON_PARTS", {"text": [[]] * 1001})])
def test_what_could_not_be_read_again_is_not_written(limit, meta, path, monkeypatch):
    write_arrays(path, {}, META)
    monkeypatch.setattr(files, limit, 1000)
    with pytest.raises(ValueError, match="weights.npz is not written: .*more than can be read again"):
        write_arrays(path, {}, META | meta)
    assert names(path.parent) == [path.name] and read_meta(path)["kind"] == "model"
    write_arrays(path, {}, META | {"text": "\u00e9" * 300})
    assert read_meta(path)["text"] == "\u00e9" * 300


def test_a_digest_is_of_the_contents_whatever_parts_they_come_in(tmp_path):
    (tmp_path / "it").write_bytes(b"mill" * 500_000)
    assert digest(tmp_path / "it") == digest_of([b"mill" * 500_000 + b"|"]) == digest_of([b"mill"] * 500_000 + [b"", b"|"])
    assert digest_of([b"abc"]) == "ba7816bf8f01cfea"


def test_a_meta_json_that_swells_is_refused(path):
    packed(path, [], zipfile.ZIP_DEFLATED, meta=b" " * (files.JSON_BYTES + 1))
    with pytest.raises(CheckpointError, match="too long"):
        read_meta(path)


def test_a_long_directory_is_not_read(path):
    packed(path, [])
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\5\6")
    content[at + 12:at + 16] = struct.pack("<I", arrays.DIRECTORY_BYTES + 1)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="directory"):
        read_meta(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_and_counted(value, path):
    write_arrays(path, {"x": np.array([1, value, 2, value], np.float32)}, META)
    with pytest.raises(CheckpointError, match="NaN or infinity: 2 of 4 in 'x'"):
        read_arrays(path)
    assert np.isnan(read_arrays(path, finite=False)[0]["x"]).any() or not np.isfinite(value)


@pytest.mark.parametrize("array", [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 3)), np.array(7), np.arange(5),
                                   np.arange(12, dtype=np.float32).reshape(2, 3, 2).T], ids=lambda a: f"{a.dtype}{a.shape}")
def test_what_is_read_is_what_was_written(array, path):
    write_arrays(path, {"x": array}, META)
    restored = read_arrays(path)[0]["x"]
    assert np.array_equal(restored, array) and restored.dtype == array.dtype and restored.shape == array.shape


def test_what_is_expected_is_compared_before_anything_is_read(path):
    write_arrays(path, {"x": np.ones(3, np.float32), "y": np.ones(2)}, META)
    with Arrays(path, "model") as file:
        file.expect({"x": np.zeros(3, np.float32), "y": np.zeros(2)})
        for wanted, message in (({"x": np.zeros(3, np.float32)}, "'y' is in it"),
                                ({"x": np.zeros(3), "y": np.zeros(2)}, "float32"),
                                ({"x": np.zeros(4, np.float32), "y": np.zeros(2)}, r"shape \(3,\)")):
            with pytest.raises(CheckpointError, match=message):
                file.expect(wanted)
    with pytest.raises(CheckpointError, match="holds a model, not an adapter or a surface"):
        read_meta(path, "adapter", "surface")


def test_a_spoiled_byte_in_an_array_is_noticed(path):
    write_arrays(path, {"x": np.arange(1000, dtype=np.float32)}, META)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_arrays(path)


def test_no_handle_stays_open(path):
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    write_arrays(path, {"x": np.arange(3)}, META)
    for _ in range(5):
        read_arrays(path)
        with pytest.raises(CheckpointError):
            read_arrays(path, "adapter")
    assert before == 0 or len(os.listdir("/proc/self/fd")) == before


# ---- forms

FORM = schema.record({"n": schema.whole(1, 10), "x?": schema.number(0, 1), "names": schema.many(schema.text(5), 1, 3),
                      "of": schema.table(schema.flag), "kind": schema.one_of("a", 2), "maybe?": schema.maybe(schema.whole())})
GOOD = {"n": 3, "x": 0.5, "names": ["a"], "of": {"b": True}, "kind": "a"}


@pytest.mark.parametrize("change, message", [
    ({"n": 0}, "n is 0, but must be a whole number from 1 to 10"), ({"n": 11}, "n is 11"), ({"n": True}, "n is True"),
    ({"n": 3.0}, "n is 3.0"), ({"n": None}, "n is None"), ({"n": "3"}, "n is '3'"), ({"n": 10 ** 400}, "more than 20 digits"),
    ({"x": float("nan")}, "x is nan"), ({"x": float("inf")}, "x is inf"), ({"x": 1.5}, "from 0 to 1"),
    ({"x": False}, "x is False"),
    ({"x": 10 ** 400}, "x is a whole"), ({"names": []}, "names is a list, but must be a list of 1 to 3"),
    ({"names": "abc"}, "names is"),
    ({"names": ["abcdef"]}, r"names\[0\] is 'abcdef'"), ({"names": ["a", 1]}, r"names\[1\] is 1"),
    ({"names": ["\ud800"]}, "whole char"),
    ({"of": []}, "of is a list"), ({"of": {"b": 1}}, "of.b is 1"), ({"kind": "b"}, "one of a, 2"), ({"kind": 2.0}, "kind is 2.0"),
    ({"maybe": "x"}, "maybe is 'x'")], ids=str)
def test_what_is_not_of_its_form_is_reported_with_its_place(change, message):
    FORM(GOOD, "it")
    with pytest.raises(ValueError, match=message):
        FORM(GOOD | change, "it")


def test_a_missing_part_and_one_too_many():
    with pytest.raises(ValueError, match="^n is missing$"):
        FORM({key: value for key, value in GOOD.items() if key != "n"}, "it")
    with pytest.raises(ValueError, match="'y', which is unknown"):
        schema.record({"x": schema.anything}, exact=True)({"x": 1, "y": 2}, "it")
    with pytest.raises(ValueError, match="a.b has no c"):
        schema.record({"b": schema.record({"c": schema.anything})})({"b": {}}, "a")
    assert FORM(GOOD | {"more": 1, "maybe": None}, "it")["more"] == 1


def test_a_message_stays_short_whatever_the_value():
    for value in ("x" * 10 ** 6, ["y"] * 10 ** 5, {"z" * 1000: 1}, 10 ** 5000, io):
        with pytest.raises(ValueError) as error:
            schema.record({"n": schema.whole()})({"n": value}, "it")
        assert len(str(error.value)) < 200
