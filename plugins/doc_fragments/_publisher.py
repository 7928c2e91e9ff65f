# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option `publisher`, shared by the modules that publish TXT records."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  publisher:
    description:
      - How TXT records get into their zone. A publisher only ever adds and removes values of its own; what others have
        at the same name stays.
      - Sub-options beat what O(publisher_file) holds.
    type: dict
    suboptions:
      type:
        description:
          - V(rfc2136) sends updates to a name server (BIND, Knot, PowerDNS, Windows with TSIG by a proxy).
          - V(lexicon) uses the API of a DNS provider, any that dns-lexicon knows but C(ddns).
          - V(acme_dns) writes at an acme-dns server, to which a CNAME that was made once leads. Values stay there until
            others take their places.
          - V(exec) runs a command of yours, as lego's provider of that name does.
        type: str
        choices: [acme_dns, exec, lexicon, rfc2136]
        required: true
      zone:
        description:
          - Zone that is written, where it cannot be found out by its SOA record (split horizon).
        type: str
      ttl:
        description:
          - Time to live of the records, in seconds.
        type: int
        default: 60
      timeout:
        description:
          - Seconds that one attempt may take; what runs longer is ended.
        type: int
        default: 60
      server:
        description:
          - For V(rfc2136), address or name of the zone's primary server. Required there.
        type: str
      port:
        description:
          - For V(rfc2136), its port.
        type: int
        default: 53
      key_name:
        description:
          - For V(rfc2136), name of the TSIG key. Without one, the server must know you by your address.
        type: str
      key_secret:
        description:
          - For V(rfc2136), its secret in base64, as C(tsig-keygen) prints it.
        type: str
      key_algorithm:
        description:
          - For V(rfc2136), its algorithm.
        type: str
        choices: [hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1, hmac-md5]
        default: hmac-sha256
      provider:
        description:
          - For V(lexicon), name of the provider as lexicon has it. Required there. It needs dns-lexicon >= 3.20.1 on
            the controller.
        type: str
      options:
        description:
          - For V(lexicon), options of the provider that are no secret, as lexicon names them, without the leading
            C(--) and with C(_) for C(-). A dictionary, or YAML text.
        type: dict
      secrets:
        description:
          - For V(lexicon), options of the provider that are secret (C(auth_token) and the like); for V(exec), variables
            of the command's environment that are. A dictionary, or YAML text.
          - Every value in here is masked wherever it appears in a result, so give nothing else here.
        type: dict
      url:
        description:
          - For V(acme_dns), URL of the server's API. Required there.
        type: str
      accounts:
        description:
          - For V(acme_dns), the accounts there, one for each base name. With O(publisher.accounts_path) they are added
            to those in that file.
        type: list
        elements: dict
        suboptions:
          domain:
            description: Base name, without C(*.) and C(_acme-challenge).
            type: str
            required: true
          subdomain:
            description: Name of the account's record, as the registration gave it.
            type: str
            required: true
          fulldomain:
            description: The same, fully qualified; the CNAME at C(_acme-challenge) leads there.
            type: str
            required: true
          username:
            description: User of the account.
            type: str
            required: true
          password:
            description: Its password.
            type: str
            required: true
      accounts_path:
        description:
          - For V(acme_dns), JSON file with the accounts by base name, as M(zerotrust.pomerium.acme_dns_account), lego
            and cert-manager keep them.
        type: path
      ca_path:
        description:
          - For V(acme_dns), PEM file with the roots of the server's TLS certificate, where it is a private CA's.
        type: path
      command:
        description:
          - For V(exec), the command with its arguments, called C(COMMAND present FQDN. VALUE) and
            C(COMMAND cleanup FQDN. VALUE). Required there.
        type: list
        elements: str
      environment:
        description:
          - For V(exec), variables added to the command's environment that are no secret. A dictionary, or YAML text.
        type: dict
  publisher_file:
    description:
      - JSON file whose keys are the sub-options of O(publisher), so that secrets travel by file.
    type: path
"""
