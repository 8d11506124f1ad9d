"""https by the service itself."""

import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from emotion_svc.config import ConfigError, load_settings
from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.process import WAIT_S, Process
from tests.serving.test_run import run


def certificate(folder: Path) -> tuple[ssl.SSLContext, dict[str, str]]:
    """What a caller trusts, and the settings that name the files."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust, {"tls_cert": str(cert), "tls_key": str(key)}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_with_a_certificate_it_speaks_https(start: Callable[..., Process], tmp_path: Path, workers: str) -> None:
    trust, settings = certificate(tmp_path)
    process = start("--workers", workers, **settings)
    assert process.url.startswith("https://127.0.0.1:")
    answer = httpx.post(f"{process.url}/v1/classify", json=EXAMPLE_TURN, verify=trust, timeout=WAIT_S)
    assert answer.text in ALL_ANSWERS
    with pytest.raises(httpx.TransportError):
        httpx.get(process.url.replace("https", "http") + "/healthz", timeout=WAIT_S)


def test_files_that_are_no_certificate_end_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    cert = str(tmp_path / "cert.pem")
    for key in (cert, "/nowhere.pem"):
        done = run(EMOTION_SVC_TLS_CERT=cert, EMOTION_SVC_TLS_KEY=key)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith(f"emotion-svc: cannot use the certificate '{cert}' with the key '{key}': ")


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="tls_cert and tls_key belong together"):
        load_settings(tls_cert="cert.pem")
