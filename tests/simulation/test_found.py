"""Schedules that once broke a promise."""

from __future__ import annotations

import random

import pytest

from tests.cycle.sites import HOUR
from tests.simulation import users
from tests.simulation.machine import address
from tests.simulation.playing import play, rest
from tests.simulation.promises import check
from tests.simulation.scopes import Scope
from tests.simulation.setting import Setting, Step, setting_of
from tests.simulation.watching import watched
from tests.simulation.world import World

FOUND = {
    "a late bundle of a twin": (
        5005527,
        "clone",
        """
        sync.3.54393 clone.0.51510 insert.2.37723 sync.2.87023 edit.2.42268 insert.1.7109
        carry.4.52802 insert.4.51056 sync.2.50922 insert.2.89417 sync.2.30066 sync.1.89495
        sync.0.74125 edit.0.75256 sync.4.92320 edit.0.2541 sync.0.72481 carry.1.76561
        """,
    ),
    "a deleted row comes back before anybody looks, and is edited": (
        5022982,
        "restore-rows",
        """
        insert.2.25725 backup.2.36255 sync.0.20006 delete.4.73671 restore_rows.4.30703
        edit.0.71293 edit.2.38957
        """,
    ),
    "a full bundle without a record is lost": (
        5048893,
        "again",
        "sync.1.39541 retire.3.82212 sync.4.28023 return_.3.65304 killed.4.56141 carry.3.48012",
    ),
    "so is one to a peer of another": (
        5057197,
        "again",
        "sync.0.57578 retire.3.58206 sync.3.43434 return_.4.23862 sync.3.72899 carry.1.26059",
    ),
    "a peer has seen every write of a state that it never confirms": (
        5063889,
        "mail",
        """
        insert.2.84129 insert.3.9832 sync.1.5125 carry.3.17579 sync.4.63944 insert.4.76648
        edit.3.44337 swap.4.40346 carry.2.2290 sync.0.55578 sync.3.67457 deliver.1.83463
        sync.1.45573 carry.0.97427 carry.2.89170 sync.2.35991 lose.2.28227 swap.1.61602
        """,
    ),
    "an acknowledgement from before a refusal comes late": (
        5085727,
        "all",
        """
        insert.3.87340 sync.1.22394 insert.3.87120 widen.1.32440 replay.4.84812 sync.0.83128
        wait.0.37031 sync.2.30796 lose.3.75353
        """,
    ),
    "another one, at one of five sites": (
        5096186,
        "datasets",
        """
        insert.4.38580 insert.0.4159 widen.4.32234 sync.0.61829 edit.0.79785 carry.1.93862
        sync.4.39887 carry.0.6314 sync.3.13813 sync.0.54262 carry.1.7917 insert.4.58064
        """,
    ),
    "a record's end is nothing to a peer that never said a word": (
        9100590,
        "filters",
        "insert.2.15085 sync.2.9851 refilter.4.91564 delete.2.54404",
    ),
    "an ancestor that lost is told to nobody for the sake of a withdrawal": (
        9101490,
        "filters",
        """
        insert.3.26899 sync.3.7172 carry.4.8350 edit.3.28582 sync.0.24149 raced.0.89569
        sync.3.70637 refilter.4.5617
        """,
    ),
    "an edit that empties a field overrules a delete where the first site lacks the record": (
        21983,
        "filters-restore",
        """
        insert.3.44744 sync.3.31029 refilter.0.8056 deliver.0.15295 delete.3.92821
        sync.2.82263 edit.2.60089
        """,
    ),
    "a row is deleted while a field comes that its table does not have": (
        40000664,
        "columns",
        """
        insert.3.2328 insert.3.92607 sync.1.94427 edit.1.21164 deliver.1.31883 sync.0.25579
        sync.1.50733 delete.2.98023 deliver.1.39925 raced.2.58739
        """,
    ),
    "a field is emptied of what is no longer for whom deleted it": (
        40000562,
        "filters-restore",
        """
        insert.4.4795 insert.4.52029 sync.1.39812 deliver.2.60500 sync.3.55287 delete.0.63067
        refilter.3.54253 delete.1.94310 edit.4.53237
        """,
    ),
    "a row is deleted, then a column comes of which a value was kept": (
        50002848,
        "columns",
        """
        insert.2.53000 sync.2.89314 carry.1.71126 sync.1.58294 delete.1.60749
        add_column.1.92789
        """,
    ),
    "both note a conflict, and the note of one comes in a bundle that was overtaken": (
        50010117,
        "clock",
        """
        insert.0.79205 sync.2.18037 delete.0.79458 deliver.1.59192 sync.3.38785 edit.3.49770
        sync.0.99220 sync.1.47439 deliver.2.64598 deliver.3.79640 edit.3.60072 sync.0.75398
        edit.2.25331 sync.3.28978 sync.2.1436 carry.2.72221 delete.1.30779 insert.1.55298
        sync.1.56736 edit.1.26967 sync.1.61884 deliver.1.75339
        """,
    ),
    "what was refused is overwritten by somebody who has not seen it": (
        202,
        "rights",
        """
        insert.3.31332 sync.1.18174 deliver.4.79555 edit.1.39541 sync.4.73971 edit.0.53892
        edit.2.96326
        """,
    ),
    "a record that came by a site which may not write all of it comes by others, too": (
        300011,
        "rights",
        """
        delete.4.60531 carry.1.90253 killed.2.9373 carry.2.87715 killed.4.55778 carry.2.77845
        insert.4.16527 tag.2.17288 killed.2.25961 carry.2.47552 lose.4.72947 sync.0.47526
        sync.2.76943 swap.4.45607 carry.0.44214
        """,
    ),
    "a record is deleted while somebody edits it who may not": (
        302009,
        "rights",
        """
        insert.4.37025 insert.4.2709 edit.2.97395 insert.4.8829 sync.2.7500 carry.2.54361
        edit.4.84695 edit.4.13060 edit.2.35422 edit.4.62865 sync.3.93307 raced.3.53903
        insert.4.16045 delete.4.75113
        """,
    ),
    "who gets some fields shows others that were overwritten since": (
        50,
        "fields",
        """
        insert.0.91511 sync.3.70967 carry.1.45820 insert.4.94465 sync.4.86772 swap.4.78905
        tag.4.98271
        """,
    ),
    "who gets some fields has not seen what else the same edit wrote": (
        50,
        "fields",
        """
        insert.0.91511 sync.3.70967 carry.1.45820 insert.4.94465 sync.4.86772 insert.0.16560
        sync.3.99020 swap.4.78905 tag.4.98271 sync.4.7621 insert.3.54994 carry.0.53379
        tag.1.65927 edit.0.3700
        """,
    ),
    "a field that the peer does not see is written before the peer's delete of the record goes": (
        430345,
        "fields",
        """
        insert.1.70754 sync.4.46739 carry.2.51596 sync.3.72450 delete.0.49177 sync.3.78189
        carry.4.90394 raced.1.22540
        """,
    ),
    "a delete takes along what its peer wrote into a field that no longer goes to it": (
        231,
        "fields-changed",
        """
        raced.0.72543 sync.4.72482 deliver.0.74792 sync.3.90136 edit.3.21810
        refilter.0.50836 sync.3.10160 sync.4.56598 deliver.2.81393 sync.2.99703
        delete.2.34716
        """,
    ),
    "a peer that was restored hears late that a record left its filter, and the record returns": (
        180001814,
        "filters-restore",
        """
        refilter.1.94669 insert.2.6982 insert.0.38651 sync.2.18125 carry.1.78514
        backup.4.65979 delete.4.73790 sync.1.65284 sync.2.32301 restore.0.12990
        refilter.2.35402
        """,
    ),
    "who has the say hears of its loss when the winner was replaced already": (
        130012444,
        "policies",
        """
        insert.4.31415 insert.3.86305 raced.1.88434 carry.1.57299 sync.3.84682 carry.3.3752
        sync.4.65101 deliver.0.26905 deliver.4.65592 edit.0.51109 raced.0.66068 carry.0.84290
        """,
    ),
    "a column comes, and a row goes before anybody looks": (
        200020822,
        "columns",
        """
        insert.2.24656 sync.4.54110 carry.0.55277 sync.1.95852 add_column.1.34054
        delete.3.82322
        """,
    ),
    "a record is edited as it leaves, deleted where it was, and returns": (
        210055742,
        "filters",
        """
        insert.2.4448 insert.4.93025 insert.3.3618 killed.0.20044 carry.3.87758 sync.3.40586
        refilter.3.96613 carry.2.12732 insert.3.99860 insert.0.21180 delete.3.1892
        edit.0.99461 sync.0.51820 carry.4.64113 refilter.0.29176 sync.1.87294 carry.1.68422
        """,
    ),
    "what was refused of an edit is shown again": (
        200016650,
        "rights",
        """
        insert.3.36232 insert.0.29734 sync.1.32627 insert.1.96973 swap.3.19920 edit.2.1445
        carry.1.3296 sync.0.95 edit.2.19621 sync.4.95684 swap.4.38422 sync.1.46076
        carry.0.65636 sync.4.55914 sync.1.67494 deliver.4.78598 sync.0.19217 carry.2.93437
        """,
    ),
    "of a new row one field is granted, and others edit that": (
        133,
        "rights",
        "insert.3.42525 sync.3.94734 carry.4.64502 sync.2.79962 raced.2.22181",
    ),
    "a row is deleted where an edit of it was refused, not where that came as new": (
        350,
        "rights",
        """
        insert.2.23946 sync.2.42486 deliver.3.95297 sync.3.25613 edit.2.37000 lose.1.86724
        delete.3.90368
        """,
    ),
    "a row is inserted under the key of one whose writing was cut off": (
        220057125,
        "keys",
        "insert.4.93113 sync.4.29023 carry.4.36893 killed.3.86637 insert.0.91114",
    ),
    "a record is purged that the peer still held when it looked": (
        130005362,
        "asked",
        """
        insert.4.28346 sync.4.79731 delete.4.14472 sync.4.44118 carry.3.97635 ask.4.89695
        sync.4.33286 carry.1.84748 carry.2.81742 insert.3.41221 sync.1.99066 carry.3.69396
        """,
    ),
    "a part goes once more, and is taken when the whole was confirmed": (
        22,
        "busy",
        """
        insert.1.27881 sync.4.52398 sync.3.69666 carry.4.78108 trouble.2.15656 sync.2.24783
        edit.3.89596 sync.1.40091 sync.2.75141 sync.2.76503 edit.2.38961 sync.3.52966
        carry.3.21567 trouble.0.26676 sync.2.23057
        """,
    ),
    "a delete wins over what a person brought back, whose note comes with it": (
        5004,
        "decided",
        """
        insert.2.57159 insert.0.14319 exchange.1.20259 exchange.2.16141 decide.2.34686
        differ.3.19473 exchange.1.7931 differ.0.35102 differ.0.74258 differ.1.70079
        edit.3.87619 delete.0.92154 wait.0.19197 edit.1.8935 decide.3.50917 differ.4.79085
        differ.3.97949 exchange.1.31248 exchange.4.46791 differ.0.30764 delete.0.6355
        decide.4.50691 differ.2.99243 killed.2.17333 edit.3.21905 decide.0.13304
        decide.2.84112 insert.1.40382 killed.2.37181 exchange.4.44879 differ.4.52988
        exchange.3.68904 differ.2.58089 decide.0.9338 decide.4.97263 decide.3.89536
        differ.1.98519 exchange.4.56449 same.1.90046 decide.0.33801 exchange.3.63432
        sync.2.49500 edit.1.10857 same.0.71506 sync.3.17355 exchange.0.62479 same.3.93722
        differ.3.29034 exchange.4.94727 edit.2.9246 delete.0.61064 decide.4.75117
        carry.2.99965 decide.0.15014 exchange.2.34830 decide.3.50182 decide.2.31740
        decide.1.43202 decide.2.43612 decide.1.92202 carry.3.52532 exchange.2.77240
        differ.4.97195 differ.2.9872 decide.2.39931 decide.0.48824 decide.4.41919
        decide.1.27863 carry.3.90679 carry.3.9667
        """,
    ),
    "a copy is edited where others do not know yet that it became one with theirs": (
        42,
        "copied",
        "sync.3.29178 edit.3.90995 raced.4.30723 raced.2.20380",
    ),
    "a copy that was asked for whole comes from somebody else": (
        107,
        "copied",
        """
        sync.0.36233 sync.4.21539 sync.2.83553 delete.3.84974 carry.0.35470 edit.0.35543
        """,
    ),
    "a letter comes twice that asks for a copy whole": (207, "copied", ""),
    "a letter comes twice in which a copy that changed since is said to be equal": (
        1080,
        "copied",
        "sync.0.83114 carry.3.19262 sync.3.53504 edit.1.7342",
    ),
    "a copy is edited that became one with another, which did so with a third elsewhere": (
        1233,
        "copied-restore",
        """
        sync.1.53714 sync.4.26982 sync.3.37336 deliver.4.55656 sync.0.86610 carry.0.73896
        edit.0.19392 sync.1.66623 carry.0.26806 sync.0.10343 carry.0.9287 replay.3.47681
        raced.3.8160
        """,
    ),
    "a copy is edited that became one with another, which came in one cycle as one with a third": (
        4199,
        "copied-restore",
        "sync.1.40684 carry.2.94210 sync.3.45033 sync.2.55575 edit.2.47002 carry.1.88485",
    ),
    "a copy of which nobody can tell for now which of two it is comes by a third site": (
        1142,
        "copied",
        """
        sync.4.63665 carry.2.23882 sync.1.54557 sync.3.95840 carry.2.32712 sync.2.84368
        edit.3.25244 sync.4.62358 carry.4.64965 sync.3.37164 carry.3.65213
        """,
    ),
    "a copy that a peer expects is deleted before it goes": (
        53,
        "copied",
        "sync.4.95077 delete.1.43469 delete.2.10405",
    ),
    "two copies come at once for one row, told by its field and by its key": (
        240_008_305,
        "copied-restore",
        """
        sync.3.10437 deliver.2.8374 carry.0.4250 sync.4.41299 sync.2.90993 carry.0.96547
        sync.3.6151 edit.2.54849 carry.1.57860 sync.2.66513 sync.3.52683
        """,
    ),
    "who sees only a dead field of a record that lives kills it not": (
        80_678,
        "fields",
        """
        insert.1.95471 sync.1.87527 carry.2.4768 sync.0.14471 deliver.4.80068 delete.1.24057
        edit.0.92939 carry.0.78321 sync.2.14056 wait.2.98985
        """,
    ),
    "a delete of what stays here meets an older edit of the same field": (
        250_000_614,
        "fields",
        """
        insert.3.99060 sync.1.13509 edit.3.8868 deliver.4.72382 sync.0.45655 raced.3.42334
        edit.0.74826 killed.2.20833 delete.4.22502
        """,
    ),
    "a delete comes back for what was refused, and had not seen it": (
        240_004_587,
        "rights",
        "insert.4.82209 sync.4.21678 carry.3.34447 delete.0.36562 raced.1.47633",
    ),
    "a copy is deleted, and who edited it forgets by a restore that it was one with another": (
        240017665,
        "copied-restore",
        """
        sync.1.36735 deliver.0.72096 delete.1.42946 backup.2.85913 sync.1.43346 edit.2.42385
        sync.0.75799 restore.4.25212 carry.1.18997
        """,
    ),
    "a copy is deleted that a site hears of only then, and another one edits it": (
        17000236,
        "copied",
        "raced.0.40160 carry.2.80727 sync.3.41356 sync.0.43650 carry.3.45764",
    ),
    "a copy that was asked for whole comes when the one that it becomes has a row of its own": (
        29000285,
        "copied-restore",
        "sync.4.96007 rename.4.19802",
    ),
    "two copies are edited that became one with a third, which is deleted, and come in one cycle": (
        240015168,
        "copied",
        """
        killed.2.66258 raced.0.59976 replay.4.64714 carry.3.89042 sync.0.62003 raced.1.39565
        sync.3.42138 sync.2.86724 carry.4.20485 sync.0.31094 insert.4.85921 edit.3.99928
        delete.4.97732
        """,
    ),
    "a restored site sends a row anew, and both come in one cycle": (
        260004327,
        "copied-restore",
        """
        sync.4.37839 carry.0.21981 insert.4.79459 sync.3.94272 wait.2.7744 backup.4.55721
        sync.2.44891 carry.1.39587 sync.4.64081 restore_state.4.13124 deliver.3.27537
        """,
    ),
    "a note is lost, and its site forgets it by a restore, when the record went once more alone": (
        260017743,
        "copied-restore",
        """
        sync.2.61121 backup.0.65031 edit.1.38053 insert.4.73168 edit.4.26838 insert.1.13669
        sync.1.7672 carry.2.88948 sync.2.13449 rename.0.43453 carry.1.10347 sync.4.78772
        restore.4.29583
        """,
    ),
    "an insert is cut off, that is found out, and users insert a row under its key": (
        310000585,
        "copied-restore",
        """
        insert.1.97814 sync.1.29804 sync.0.82783 carry.4.75943 edit.4.37926 killed.4.20832
        killed.0.4959 insert.4.52742
        """,
    ),
    "two rows are edited in one scan, and what was written into both becomes one write": (
        320000022,
        "copied",
        """
        sync.1.79656 sync.4.94969 sync.2.82650 carry.1.53350 sync.3.64708 sync.1.11787
        edit.2.23306 carry.4.80272 edit.1.48643 raced.0.4739 edit.3.13093 carry.2.27430
        edit.1.85660 sync.3.11080 edit.2.91349 same.1.468 edit.3.41127 carry.3.95609
        """,
    ),
    "a letter comes late that calls a row a copy, of what came since as another one": (
        350000102,
        "copied",
        "sync.4.32443 lose.3.57957 sync.0.39220 rename.1.66004 lose.2.35242",
    ),
    "a note is forgotten by a restore of the state alone, and its only letter tells of a restore": (
        600006043,
        "copied-restore",
        """
        sync.2.39434 carry.3.57045 backup.1.54144 sync.1.87284 backup.2.6091 deliver.3.44425
        sync.0.40184 restore_state.0.36195 restore.3.56560
        """,
    ),
    "of a record that gave way a field is deleted by that alone, and another one lives again": (
        800000348,
        "copied",
        """
        sync.3.45032 insert.4.14353 sync.1.98285 delete.3.99484 insert.3.49733 sync.4.87934
        edit.3.38474 insert.2.52223 carry.4.26730 sync.3.22727 replay.3.93730 raced.2.29181
        carry.2.98017 deliver.3.47384 sync.2.54383 sync.3.33170 sync.1.54017 deliver.2.27763
        raced.1.18608
        """,
    ),
    "a row leaves the filter of a site that keeps it and has just deleted it, unconfirmed": (
        280004661,
        "leaving",
        "insert.2.5769 sync.4.60622 deliver.1.33442 sync.1.44735 delete.1.62463 refilter.0.98588",
    ),
    "a row is enrolled anew after a restore, and the peer knows it as a row renamed there": (
        290009904,
        "copied-restore",
        """
        sync.1.41539 backup.4.84949 deliver.3.37875 sync.0.71185 rename.0.94930 sync.4.97147
        restore_state.4.11511
        """,
    ),
    "a row that was announced is deleted before it goes, and the letter that says so is lost": (
        240008812,
        "copied-restore",
        """
        sync.2.61857 sync.1.14195 delete.4.26503 delete.1.89577 sync.4.72368 carry.2.97864
        """,
    ),
    "rows come back from a backup, and then the state from a later one": (
        620000497,
        "copied-restore",
        """
        backup.4.19766 sync.1.66173 sync.0.43695 raced.2.54695 carry.2.80248 sync.1.51434
        backup.4.69659 restore.1.87139 restore_state.1.30591
        """,
    ),
    "an edit meets a copy that is killed to live on in another, with a value it had not seen": (
        630000113,
        "copied",
        """
        sync.2.32958 lose.4.50219 sync.3.9249 deliver.1.98587 carry.0.99610 edit.0.97684
        sync.0.20630 sync.1.32663 carry.4.66787 sync.2.21294 carry.0.13339 raced.1.66393
        """,
    ),
    "a row was renamed as it was met under another name, and the state forgot both": (
        700018406,
        "copied-restore",
        """
        sync.0.81856 edit.2.71947 backup.3.7402 deliver.1.20839 edit.0.47894 edit.1.75186
        sync.2.9112 carry.3.18564 sync.0.69774 sync.1.32565 rename.3.14985 sync.3.3079
        restore_state.3.39836 deliver.1.93941
        """,
    ),
    "two rows come anew, of which the sender of both wrote one before it was restored": (
        1101915,
        "copied-restore",
        """
        sync.4.31107 carry.2.23924 sync.1.27121 backup.1.13040 sync.2.60316 wait.0.90652
        edit.4.7227 carry.1.22848 edit.4.99293 raced.4.83046 wait.3.20848 raced.0.4346
        delete.4.27760 carry.4.39601 sync.1.62474 deliver.2.540 restore_rows.1.70676
        reinsert.1.41176 sync.1.26283 restore_state.1.22696
        """,
    ),
    "a state is restored as a copy that its site covered already has come late": (
        2101027,
        "copied-restore",
        """
        sync.1.13758 edit.3.63652 sync.3.82000 raced.4.2277 backup.1.56095 sync.2.48084
        edit.0.93790 deliver.3.50279 sync.4.32629 replay.3.8790 sync.1.16124
        restore_state.3.56885
        """,
    ),
    "two copies live again where both are known, and come to a site that has a third": (
        1102736,
        "copied",
        """
        sync.0.66805 delete.4.14462 sync.2.97199 carry.4.25402 delete.2.37445 sync.2.37622
        sync.4.76025 edit.2.76609 sync.2.4047 carry.3.30756 edit.0.57701
        """,
    ),
    "a row was announced and left the filter of a peer, which keeps it, before it came": (
        1200011174,
        "leaving",
        """
        insert.3.36473 raced.1.96795 sync.3.91014 refilter.4.9540 carry.3.83074
        delete.1.59126 sync.3.24894 edit.1.95587
        """,
    ),
    "both copies of a row are edited at once, where both live, and one gives way elsewhere": (
        1200007641,
        "copied",
        """
        sync.3.66138 carry.3.84103 raced.2.88069 raced.1.9361 carry.4.36177 edit.1.19250
        sync.3.36777 deliver.1.32334 sync.4.64132 delete.4.2792 edit.1.76450 edit.4.55630
        """,
    ),
    "a column is made anew and written to, and the row deleted before anybody looks": (
        1400024233,
        "columns",
        "insert.1.24511 sync.3.37845 remake_column.1.64881 edit.1.60489 delete.3.24189",
    ),
    "a site takes what it refused, and the mail that says so is lost": (
        1400065959,
        "datasets",
        """
        insert.0.20565 widen.0.61035 sync.0.54820 carry.2.36836 sync.1.8954 widen.3.60805
        deliver.3.87788 sync.3.95081 carry.4.74862
        """,
    ),
    "two sites rename a row before they meet, and each meets a third that has not": (
        1700001441,
        "copied-restore",
        "sync.4.31276 rename.1.34703 sync.0.58775 rename.0.34647",
    ),
    "the author of one field that stays here shows another, which a third wrote": (
        1700031379,
        "fields-changed",
        """
        insert.0.53900 insert.4.79836 sync.4.84810 insert.0.56637 carry.0.24046 sync.3.56455
        raced.2.54441 edit.3.19867 sync.0.70332 edit.4.89982 insert.4.25203 delete.4.67181
        sync.0.87712 insert.1.25292 edit.4.5218 edit.3.4700 insert.0.60986 carry.0.2563
        edit.0.12144 sync.3.12695 tag.0.62845 swap.1.13355 refilter.1.26201
        """,
    ),
    "two sites become peers, and one shows what the other forgot that it had overwritten": (
        1700025259,
        "asked",
        """
        insert.2.99653 sync.2.96441 carry.4.67188 wait.3.6614 sync.1.97792 edit.4.90449
        carry.1.86486 deliver.3.76149 sync.2.92250 sync.4.4102 carry.0.78934 sync.2.1565
        meet.0.61975
        """,
    ),
    "a row is deleted while a column of it that was made anew, and was empty, is filled again": (
        1700079925,
        "columns",
        "insert.3.26197 sync.1.63580 remake_column.3.31240 raced.3.40332",
    ),
    "a record that gave way is deleted in part, as somebody edited it meanwhile": (
        1700065244,
        "copied",
        """
        sync.3.37122 carry.4.30751 sync.2.96957 sync.0.74144 carry.0.67346 insert.1.67203
        deliver.2.14371 sync.1.76195 carry.2.35063 sync.3.84692 lose.1.8588 delete.1.30095
        sync.0.21825 raced.4.81140
        """,
    ),
    "of a row that was edited before it came only the edit is granted; the row comes by others": (
        410000921,
        "rights",
        """
        insert.0.20828 sync.4.24048 deliver.3.44379 edit.0.840 sync.0.69470 carry.0.34713
        sync.2.77342
        """,
    ),
    "a restored site calls records by digests that are gone": (
        1800001519,
        "copied-restore",
        """
        backup.1.1077 sync.2.21643 carry.3.14195 sync.1.98309 delete.2.2287 carry.2.59231
        restore_state.1.25915 sync.2.27418 replay.3.98029 sync.1.33957 replay.4.6114 sync.1.7739
        """,
    ),
    "half of an exchange got out, the other half was taken away by a restore": (
        1820011522,
        "leaving-restore",
        """
        insert.1.9268 insert.1.96221 backup.4.1690 sync.1.28692 refilter.0.375 carry.2.978
        sync.2.10187 swap.2.3344 sync.2.52840 restore.0.46075
        """,
    ),
    "fields that come to be shown as the record is deleted go with it": (
        1820033992,
        "fields-changed",
        "insert.4.79147 sync.2.70367 refilter.4.41504 carry.4.67804 sync.1.12338 delete.1.20261",
    ),
    "what overruled a delete lost in turn, or stays where it was": (
        1820038594,
        "fields-changed",
        """
        insert.3.63125 sync.3.8086 carry.1.9440 sync.4.91879 raced.1.80126 edit.4.52611
        reinsert.1.46423 sync.1.60687 edit.4.33940 sync.2.36612 delete.2.83175
        """,
    ),
    "both of two rows that become one were edited in one scan": (
        1820035565,
        "copied",
        """
        sync.4.67750 sync.3.67186 carry.3.44534 edit.3.67789 sync.0.71717 carry.4.38181
        sync.3.54805 edit.3.75786 edit.3.47730
        """,
    ),
    "a row under the key of a deleted one leaves a column empty": (
        1830000094,
        "columns",
        """
        insert.4.87907 insert.3.42175 edit.2.4999 sync.2.25920 carry.1.66307 raced.3.640
        delete.1.23507 raced.3.70699 carry.1.57128 delete.2.76234 reinsert.0.1701
        """,
    ),
    "all of a row was written over at who was no peer while it was deleted": (
        1900004186,
        "again",
        """
        insert.2.91652 sync.4.46359 delete.2.6178 carry.0.77683 sync.1.16493 insert.1.7131
        swap.3.3798 sync.4.48454 retire.2.46541 silence.1.3805 deliver.3.90183 sync.2.80814
        sync.1.81670 return_.2.6683
        """,
    ),
}
"""What happens -> seed, mix and steps, shrunk."""


@pytest.mark.parametrize("what", FOUND)
def test_promises_hold_after_what_once_broke_one(what: str) -> None:
    seed, mix, steps = FOUND[what]
    assert play(setting_of(seed, mix), [Step.parse(step) for step in steps.split()]).broken is None


def test_what_was_refused_is_overwritten_and_its_author_hears_of_that_by_others() -> None:
    scope, edges = Scope(granted=("f0",)), (("a", "b"), ("a", "c"), ("b", "c"))
    world = World(Setting(1, "rights", "abc", edges, 2, scoped="a", scope=scope))
    author, other = world.machines["a"], world.machines["b"]
    with watched(world):
        users.add(world, author, "people", None, random.Random(0))
        _carry(world, "a", "b")
        _carry(world, "b", "nobody")
        [(key, row)] = other.rows("people").items()
        assert "f1" not in row
        row["f1"] = world.accounts.value()
        world.accounts.wrote("b", "people", key, {"f1": row["f1"]})
        world.time += HOUR
        for sender, recipient in ("bc", "ca"):
            _carry(world, sender, recipient)
        rest(world)
        check(world)


def _carry(world: World, sender: str, recipient: str) -> None:
    """What one site has to say comes to one other, and is lost on its way to the rest."""
    world.cycle(world.machines[sender])
    for letter in list(world.network.in_transit):
        if letter.recipient == address(recipient):
            world.network.deliver(letter)
    world.network.in_transit.clear()
