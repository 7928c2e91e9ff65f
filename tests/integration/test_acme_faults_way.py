# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""R44, the way to the CA: a private root as file or text, a proxy between, and what is said where either is wrong."""

from __future__ import annotations

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.connect_proxy import ConnectProxy


def test_r44_https_proxy_and_a_private_root_are_respected_whatever_else_the_environment_trusts(
    controller: Controller,
) -> None:
    lab = controller.lab
    other = controller.home / "other-ca.pem"
    other.write_bytes(Authority("The company's own CA").pem)
    by_text = {"ca_path": None, "ca_content": lab.pebble.ca_path.read_text()}
    with ConnectProxy() as proxy:
        env = {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(other)}
        tasks = [("acme_account", {}), ("acme_order", by_text)]
        for done in controller.play_all(tasks, env=env):
            assert done.ok["changed"]
        assert proxy.tunnels == [f"127.0.0.1:{lab.pebble.port}"] * len(tasks), "one kept connection for each module"
        assert not controller.play("acme_order", env={**env, "NO_PROXY": "127.0.0.1"}).ok["changed"]
        assert len(proxy.tunnels) == len(tasks)


def test_r44_a_proxy_that_refuses_is_named_with_its_own_words(controller: Controller) -> None:
    with ConnectProxy(refuses=True) as proxy:
        refused = controller.play("acme_account", env={"HTTPS_PROXY": proxy.url})
    assert "The CA cannot be reached to give its directory" in refused.error
    assert "407" in refused.error and "HTTPS_PROXY" in refused.error
    assert controller.lab.pebble.requests() == [] and not controller.lab.account_key_path.exists()


def test_r44_a_root_that_is_not_the_cas_is_a_tls_error_that_names_the_option(controller: Controller) -> None:
    other = Authority("Another CA").pem.decode()
    url = controller.lab.directory_url
    wrong, none, unchecked = controller.run_all(
        [
            ("acme_account", {"ca_path": None, "ca_content": other}),
            ("acme_account", {"ca_path": None}),
            ("acme_account", {"ca_path": None, "validate_certs": False}),
        ]
    )
    for done in (wrong, none):
        assert f"The TLS certificate of the CA's server is not trusted for {url}: " in done.error
        assert "certificate verify failed" in done.error and "ca_path" in done.error
    assert unchecked.ok["created"]
