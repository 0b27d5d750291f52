"""Federations that let in whom nobody has compared keys with, or that believe another coordinator."""

from __future__ import annotations

from mutant import Mutant, mutant

AUTHORITY = "server/cohortium_server/membership/authority.py"
JOINING = "client/cohortium_client/joining.py"
KIT = "common/cohortium/federation/kit.py"
MEMBERS = "server/cohortium_server/membership/members.py"
MEMBERSHIP = "common/cohortium/federation/membership.py"
PROVISIONING = "server/cohortium_server/membership/provisioning.py"
PROVISION = "tests/server/membership/test_provision.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "admits an institution whose fingerprint nobody has typed",
        "T3",
        f"{PROVISION}::test_nobody_is_admitted_by_no_or_another_fingerprint[None]",
        MEMBERS,
        "    _check_fingerprint(application, typed, file.name)\n",
        "    _check_fingerprint(application, typed or application.fingerprint, file.name)\n",
    ),
    mutant(
        "compares the beginning of a fingerprint",
        "T3",
        f"{PROVISION}::test_another_fingerprint_is_another",
        MEMBERSHIP,
        'return "".join(typed.upper().replace("-", " ").split()) == self.fingerprint.replace("-", "")',
        'return self.fingerprint.replace("-", "").startswith("".join(typed.upper().replace("-", " ").split()))',
    ),
    mutant(
        "leaves the relay's key out of the fingerprint",
        "T3",
        f"{PROVISION}::test_a_fingerprint_is_what_the_documents_say",
        MEMBERSHIP,
        "digest([self.institution, self.key, self.node])",
        "digest([self.institution, self.key])",
    ),
    mutant(
        "shows the fingerprint that should have been heard",
        "T3",
        f"{PROVISION}::test_nobody_is_admitted_by_no_or_another_fingerprint[ABCD]",
        MEMBERS,
        'fix = "Listen again. If',
        'fix = f"It is {application.fingerprint}. If',
    ),
    mutant(
        "believes an application whatever its signature",
        "T3",
        f"{PROVISION}::test_no_word_of_an_application_can_be_changed[federation]",
        MEMBERSHIP,
        "if not signed_by(found.key, found.signature, _DOMAIN + _signed_part(found)):",
        "if not found.signature:",
    ),
    mutant(
        "admits who was given another CA under the same name",
        "T8",
        f"{PROVISION}::test_an_application_by_another_kit_is_refused",
        MEMBERS,
        "if application.federation != federation.name or application.root != root:",
        "if application.federation != federation.name or not root:",
    ),
    mutant(
        "takes a revoked relay's key again",
        "6, keys",
        f"{PROVISION}::test_a_revoked_node_key_never_comes_back",
        MEMBERS,
        "if any(a.node == application.node for a in revoked):",
        "if any(a == application for a in revoked[1:]):",
    ),
    mutant(
        "keeps a member that was being revoked when it crashed",
        "6, keys",
        f"{PROVISION}::test_a_crash_between_two_files_lets_nobody_in[revoke]",
        MEMBERS,
        "return {name: a for name, a in found.items() if a.node not in out}",
        "return {name: a for name, a in found.items() if out is not None}",
    ),
    mutant(
        "takes a new identity without the old one's word",
        "6, keys",
        f"{PROVISION}::test_a_new_identity_needs_the_old_ones_word",
        MEMBERSHIP,
        "(self.succession is not None and self.succession.former == key)",
        "bool(key)",
    ),
    mutant(
        "takes anybody's word for a new identity",
        "6, keys",
        f"{PROVISION}::test_a_new_identity_needs_the_old_ones_word",
        MEMBERSHIP,
        "(institution, key) and succession.is_signed",
        "(institution, key)",
    ),
    mutant(
        "believes a kit that was touched",
        "T11",
        f"{PROVISION}::test_every_file_of_a_kit_is_under_its_checksums[study.toml]",
        KIT,
        "    _check_sums(files, where)\n",
        "",
    ),
    mutant(
        "unpacks a kit of any size",
        "T11",
        f"{PROVISION}::test_a_zip_bomb_is_not_unpacked",
        KIT,
        "files[name] = member.read(MAX_MEMBER + 1)",
        "files[name] = member.read()[:MAX_MEMBER]",
    ),
    mutant(
        "sends the CA's key in the kit",
        "T8",
        f"{PROVISION}::test_a_kit_names_whom_to_trust_and_holds_no_secret",
        PROVISIONING,
        "study=template(federation.institution_names)",
        "study=template(federation.institution_names) + federation.root_key.read_text()",
    ),
    mutant(
        "lets the relay's folder believe another federation",
        "T8",
        f"{PROVISION}::test_another_federations_kit_does_not_enter_the_folder",
        JOINING,
        "another = relay.root.exists() and relay.root.read_bytes() != kit.root",
        "another = relay.root.exists() and relay.root.read_bytes() == b''",
    ),
    mutant(
        "makes a CA that may sign for any host",
        "T8",
        f"{PROVISION}::test_a_stolen_ca_key_opens_no_other_connection",
        AUTHORITY,
        "[_within(n) for n in names_of(host, True)], None)",
        'None, [x509.DNSName("never.invalid")])',
    ),
    mutant(
        "believes the server's certificate after its last day",
        "T8",
        f"{PROVISION}::test_a_certificate_that_is_not_valid_is_reported",
        AUTHORITY,
        "if now >= certificate.not_valid_after_utc:",
        "if now >= certificate.not_valid_after_utc + timedelta(days=30):",
    ),
)
