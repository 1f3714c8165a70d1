"""The PEM file: written for HAProxy alone, kept through a renewal, and gone with its server."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.pem_file import NAME, place_pem, remove_leftovers
from cluster.tls import KEY_VARIABLE, Tls, tls_of
from models.errors import InvalidConfiguration
from serve_app.access.reach import TLS_CERTIFICATE_VARIABLE
from tests.cluster.certificates import Certificate, make_certificate
from tests.cluster.test_edge import rays_configuration
from tests.cluster.test_tls import needs_haproxy, on_loopback
from tests.conftest import free_port

OLD, NEW = make_certificate(), make_certificate()


def _write(folder: Path, certificate: bytes, key: bytes) -> Tls:
    (folder / "chain").write_bytes(certificate)
    (folder / "key").write_bytes(key)
    tls = tls_of(
        {TLS_CERTIFICATE_VARIABLE: str(folder / "chain"), KEY_VARIABLE: str(folder / "key")}
    )
    assert tls is not None
    return tls


def _both(one: Certificate) -> bytes:
    return one.certificate + one.key


def test_nobody_else_may_read_it_and_a_renewed_one_takes_its_place(tmp_path: Path) -> None:
    for one in (OLD, NEW):
        tls = _write(tmp_path, one.certificate, one.key)
        path = place_pem(tls, tmp_path, reloading=False)
        assert path.read_bytes() == _both(one)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["chain", NAME, "key"]


@pytest.mark.parametrize(
    "half_done", [(NEW.certificate, OLD.key), (NEW.certificate[:100], NEW.key), (b"", b"")]
)
def test_in_the_middle_of_a_renewal_the_last_one_is_used_on(
    half_done: tuple[bytes, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place_pem(_write(tmp_path, OLD.certificate, OLD.key), tmp_path, reloading=False)
    tls = _write(tmp_path, *half_done)
    assert place_pem(tls, tmp_path, reloading=True) == path
    assert path.read_bytes() == _both(OLD)
    said = capsys.readouterr().err
    assert said.endswith("The last one is used on.\n")
    assert "PRIVATE" not in said
    place_pem(_write(tmp_path, NEW.certificate, NEW.key), tmp_path, reloading=True)
    assert path.read_bytes() == _both(NEW)


def test_a_server_does_not_begin_with_the_last_one(tmp_path: Path) -> None:
    place_pem(_write(tmp_path, OLD.certificate, OLD.key), tmp_path, reloading=False)
    tls = _write(tmp_path, NEW.certificate, OLD.key)
    with pytest.raises(InvalidConfiguration, match="not that of the certificate"):
        place_pem(tls, tmp_path, reloading=False)
    (tmp_path / NAME).unlink()
    with pytest.raises(InvalidConfiguration, match="not that of the certificate"):
        place_pem(tls, tmp_path, reloading=True)


def test_what_killed_servers_left_is_removed(tmp_path: Path) -> None:
    for node in ("killed", "running", "none of ours"):
        (tmp_path / node).mkdir()
        for name in (NAME, "edge.new"):  # a kill may come before the new one takes its place
            (tmp_path / node / name).write_bytes(b"key")
    configurations = [tmp_path / node / "haproxy.cfg" for node in ("killed", "running")]
    for path in configurations:
        path.write_text("global\n")
    (tmp_path / "link").symlink_to(tmp_path / "running")
    # Its command line is all that is asked of a server that runs.
    command = [sys.executable, "-c", "input('runs\\n')", "-f", str(configurations[1])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"  # before, its command line may be empty
        remove_leftovers(tmp_path / "own" / "haproxy.cfg")
        left = {path.parent.name for path in tmp_path.glob(f"*/{NAME}")} - {"link"}
        unfinished = {path.parent.name for path in tmp_path.glob("*/edge.new")} - {"link"}
        process.communicate(b"\n")
    assert left == {"running", "none of ours"}
    assert unfinished == {"running", "none of ours"}


def test_a_kill_before_the_new_one_takes_its_place_leaves_a_name_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "killed"
    node.mkdir()
    (node / "haproxy.cfg").write_text("global\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            place_pem(_write(tmp_path, OLD.certificate, OLD.key), node, reloading=False)
    assert len(list(node.iterdir())) == 2
    remove_leftovers(tmp_path / "own" / "haproxy.cfg")
    assert [path.name for path in node.iterdir()] == ["haproxy.cfg"]


@needs_haproxy
def test_haproxy_is_started_again_in_the_middle_of_a_renewal(tmp_path: Path) -> None:
    path = rays_configuration(tmp_path, free_port(), free_port(), free_port(), free_port())
    place_pem(_write(tmp_path, OLD.certificate, OLD.key), tmp_path, reloading=False)
    _write(tmp_path, NEW.certificate, OLD.key)
    variables = on_loopback(tmp_path / "chain", **{KEY_VARIABLE: str(tmp_path / "key")})

    def check(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cluster.edge", "-c", "-f", str(path), *more]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)

    assert check().returncode == 1
    reloaded = check("-sf", "1")  # with -c it checks its configuration, and signals nobody
    assert reloaded.returncode == 0, reloaded.stderr
    assert "The last one is used on." in reloaded.stderr
    assert f"crt '{tmp_path / NAME}'" in path.read_text()
