"""Answers on their way: halves that are taken for whole ones, nodes that leave in the middle, ports that open for anybody."""

from __future__ import annotations

from mutant import Mutant, mutant

APP = "server/cohortium_server/app.py"
DOING = "server/cohortium_server/rounds/doing.py"
WHOLE = "server/cohortium_server/flower/whole.py"
LEAVING = "client/cohortium_client/flower/leaving.py"
NODE = "client/cohortium_client/flower/node.py"
SENT = "client/cohortium_client/flower/sent.py"
SERVING = "client/cohortium_client/commands/serving.py"
SUPERVISION = "common/cohortium/system/supervision.py"
ON_THE_WAY, TEST_DOING = "tests/client/flower/test_on_the_way.py", "tests/server/rounds/test_doing.py"

MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "hands over half an answer, for whose rest everybody waits",
        "F2",
        f"{ON_THE_WAY}::test_half_an_answer_is_none_and_holds_up_no_other",
        WHOLE,
        "                return one.lost\n",
        "                return True\n",
    ),
    mutant(
        "keeps half an answer that nobody waits for any more",
        "F2",
        f"{ON_THE_WAY}::test_an_answer_that_will_never_be_complete_is_reported_or_forgotten",
        WHOLE,
        "        self._client.forget_but(asked)\n",
        "",
    ),
    mutant(
        "does not ask an institution again that was started again",
        "F2",
        f"{ON_THE_WAY}::test_who_was_started_again_is_asked_at_once",
        APP,
        "        if life != self._lives[node]:\n            return True\n",
        "",
    ),
    mutant(
        "waits for the rest of an answer whose sender has gone",
        "F2",
        f"{ON_THE_WAY}::test_who_has_gone_with_half_an_answer_sent_is_asked_when_it_is_back",
        APP,
        "if self._asked[number] not in there:",
        "if False:",
    ),
    mutant(
        "ends a node between Sending and Sent",
        "F2",
        f"{ON_THE_WAY}::test_a_node_that_is_stopped_sends_its_answer_first[SIGTERM]",
        LEAVING,
        "if not self._busy or self._signal is not None:",
        "if True:",
    ),
    mutant(
        "lets a node that was asked to stop take for ever",
        "F2",
        f"{ON_THE_WAY}::test_a_node_whose_answer_takes_too_long_goes_without",
        LEAVING,
        "Timer(self._patience, os.kill,",
        "Timer(1e6 * self._patience, os.kill,",
    ),
    mutant(
        "ends the custodian before the relay that still sends what it answers",
        "F2",
        f"{ON_THE_WAY}::test_what_an_institution_needs_to_send_its_answer_ends_after_it",
        SERVING,
        "        in_turn=True,",
        "        in_turn=False,",
    ),
    mutant(
        "ends all processes at once where one needs another",
        "F2",
        "tests/system/test_supervision.py::test_each_ends_before_what_it_needs",
        SUPERVISION,
        "if in_turn else [alive]",
        "if False else [alive]",
    ),
    mutant(
        "takes what had arrived already for a failure and leaves half an answer behind",
        "F2",
        f"{ON_THE_WAY}::test_an_answer_arrives_whole_over_a_line_that_is_cut[twice1-True]",
        SENT,
        "                return False\n",
        "                raise\n",
    ),
    mutant(
        "shows other users of the machine at a node's port what there is",
        "F2",
        f"{ON_THE_WAY}::test_nothing_else_is_there[/openapi.json]",
        NODE,
        "return path.startswith(Api.RUNTIME) or path == Api.HEALTH",
        "return True",
    ),
    mutant(
        "lets everybody read whom a run waits for",
        "F2",
        f"{TEST_DOING}::test_the_file_is_the_coordinators_own_and_holds_names_and_public_facts_alone",
        DOING,
        "            aside.touch(0o600)\n",
        "",
    ),
)
