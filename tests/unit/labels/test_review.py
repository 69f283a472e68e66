"""Verdicts of a person: what is read from a file, what is refused, and that every strategy keeps to them."""

import csv

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as some

import selftrain as st
from selftrain import catalog, strategies, toy
from selftrain.data import Pile
from selftrain.errors import DataError
from selftrain.labels.ledger import Ledger
from selftrain.labels.review import Review, read_review
from selftrain.labels.teacher_pass import label_pile
from selftrain.mix import Mixup
from selftrain.tasks import Classification
from selftrain.types import PseudoLabels

NAMES = ("ant", "bee", "cow")
IDS = tuple(f"photo-{i}.png" for i in range(5))


def ledger_of(ids=IDS, classes=NAMES, labels=(0, 1, 2, 0)):
    """A ledger that calls the first rows these classes; the rest was never labeled."""
    ledger = Ledger(list(ids), classes)
    value = torch.full((len(labels), len(classes)), 0.1)
    value[torch.arange(len(labels)), torch.tensor(labels)] = 0.8
    said = PseudoLabels(torch.arange(len(labels)), value, torch.ones(len(labels)))
    ledger.write(said, Classification(len(classes)), 0)
    return ledger


def written(path, ledger, **decisions):
    """The ledger's file with a person's entries: ``row=(verdict, correction)``, row numbers as ``r0``, ``r1``, ..."""
    with open(ledger.to_csv(path), newline="", encoding="utf-8", errors="surrogatepass") as file:
        header, *rows = csv.reader(file)
    for key, (verdict, correction) in decisions.items():
        rows[int(key[1:])][-2:] = [verdict, correction]
    with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def refused(path, *words, classes=NAMES, ids=None):
    with pytest.raises(DataError) as caught:
        read_review(path, classes, ids)
    message = str(caught.value)
    assert all(word in message for word in (path.name, *words)), message


# -- reading -----------------------------------------------------------------------------------------------------------
def test_decisions_are_read(tmp_path):
    decisions = {"r0": ("accept", ""), "r1": ("", "cow"), "r2": ("reject", ""), "r3": ("Keep ", "")}
    found = read_review(written(tmp_path / "labels.csv", ledger_of(), **decisions), NAMES, IDS)
    assert dict(found) == {IDS[0]: 0, IDS[1]: 2, IDS[2]: -1, IDS[3]: 0}
    assert (found.ids, found.labels) == (IDS[:4], (0, 2, -1, 0))
    assert found.corrected == (False, True, False, False)
    assert found.rejected == 1
    assert found.text() == "2 accepted, 1 corrected, 1 rejected"
    assert found.source.endswith("labels.csv")
    assert IDS[4] not in found
    assert len(found) == 4


def test_a_file_nobody_filled_in_decides_nothing(tmp_path):
    found = read_review(ledger_of().to_csv(tmp_path / "labels.csv"), NAMES)
    assert dict(found) == {}
    assert found.text() == "0 accepted, 0 corrected, 0 rejected"


@pytest.mark.parametrize(
    ("correction", "label", "corrected"),
    [("cow", 2, True), ("2", 2, True), (" 2.0 ", 2, True), (" cow", 2, True), ("bee", 1, False), ("1", 1, False)],
)
def test_corrections_by_name_and_number(tmp_path, correction, label, corrected):
    found = read_review(written(tmp_path / "labels.csv", ledger_of(), r1=("", correction)), NAMES)
    assert (found.labels, found.corrected) == ((label,), (corrected,))


def test_names_come_before_numbers(tmp_path):
    path = written(tmp_path / "labels.csv", ledger_of(classes=("2", "1", "0")), r1=("", "2"))
    assert read_review(path, ("2", "1", "0")).labels == (0,)


def test_an_accepted_label_may_be_written_out(tmp_path):
    path = written(tmp_path / "labels.csv", ledger_of(), r1=("accept", "bee"), r4=("", "ant"))
    found = read_review(path, NAMES)
    assert (found.labels, found.corrected) == ((1, 0), (False, True))  # row 4 had no label


def test_hostile_names_come_back_as_they_are(tmp_path):
    ids = ("=1+1", 'a "b", c', "two\nlines", "żółw", "\udcff")
    classes = ("=SUM(A1)", "-b", "'=c")
    path = written(tmp_path / "labels.csv", ledger_of(ids, classes), r0=("accept", ""), r1=("", "-b"), r2=("", "'-b"))
    found = read_review(path, classes, ids)
    assert dict(found) == {ids[0]: 0, ids[1]: 1, ids[2]: 1}
    path = written(tmp_path / "labels.csv", ledger_of(ids, classes), r3=("reject", ""), r4=("", "''=c"))
    assert dict(read_review(path, classes, ids)) == {ids[3]: -1, ids[4]: 2}


TEXT = some.text(some.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=5)
DECISION = some.sampled_from([None, "accept", "keep", "REJECT", "name", "number"])


@hypothesis.given(
    ids=some.lists(TEXT, min_size=1, max_size=8, unique=True),
    classes=some.lists(TEXT.filter(str.strip), min_size=2, max_size=4, unique=True),
    data=some.data(),
)
@hypothesis.settings(max_examples=120, deadline=None)
def test_any_decision_is_read_as_it_was_meant(tmp_path_factory, ids, classes, data):
    said = [data.draw(some.integers(0, len(classes) - 1)) for _ in ids]
    ledger, meant, entries = ledger_of(ids, classes, said), {}, {}
    for row, name in enumerate(ids):
        decision, other = data.draw(DECISION), data.draw(some.integers(0, len(classes) - 1))
        if decision is None:
            continue
        if decision in ("name", "number"):
            hypothesis.assume(decision == "name" or str(other) not in classes)
            text = classes[other] if decision == "name" else str(other)
            entries[f"r{row}"] = ("", text if decision == "number" else disarmed_by_hand(text))
            meant[name] = other
        else:
            entries[f"r{row}"] = (decision, "")
            meant[name] = -1 if decision == "REJECT" else said[row]
    path = written(tmp_path_factory.mktemp("any") / "labels.csv", ledger, **entries)
    assert dict(read_review(path, classes, set(ids))) == meant


def disarmed_by_hand(text):
    """What a person copies from the column ``class``."""
    return f"'{text}" if text.lstrip("'")[:1] and text.lstrip("'")[0] in "=+-@\t\r\n＝＋－＠" else text


def test_other_columns_may_be_gone(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("verdict;id;correction\nreject;a;\n;b;cow\n;c;\n")
    assert dict(read_review(path, NAMES)) == {"a": -1, "b": 2}
    path.write_text("verdict;id;correction\naccept;a;\n")
    refused(path, "line 2", "no pseudo-label", "as a correction")


def test_parquet_is_read_as_well(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(ledger_of().to_parquet(tmp_path / "labels.parquet")).to_pydict()
    table["verdict"] = ["reject", None, "", "accept", None]
    table["correction"] = [None, "2", None, None, ""]
    parquet.write_table(arrow.table(table), tmp_path / "labels.parquet")
    assert dict(read_review(tmp_path / "labels.parquet", NAMES, IDS)) == {IDS[0]: -1, IDS[1]: 2, IDS[3]: 0}
    table["verdict"][1] = "maybe"
    parquet.write_table(arrow.table(table), tmp_path / "labels.parquet")
    refused(tmp_path / "labels.parquet", "row 2", "unknown verdict 'maybe'")


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("rejct", ""), ["line 3", "unknown verdict 'rejct'", "did you mean 'reject'?"]),
        (("1", ""), ["line 3", "unknown verdict '1'", "known are accept, keep, reject"]),
        (("", "Bea"), ["line 3", "unknown class 'Bea'", "did you mean 'bee'?", "a number from 0 to 2"]),
        (("", "zebra"), ["unknown class 'zebra'", "known are ant, bee, cow"]),
        (("", "3"), ["unknown class '3'"]),
        (("", "-1"), ["unknown class '-1'"]),
        (("", "1.5"), ["unknown class '1.5'"]),
        (("", "nan"), ["unknown class 'nan'"]),
        (("reject", "cow"), ["line 3", "rejected, but corrected to 'cow'", "empty one of the two cells"]),
        (("accept", "cow"), ["line 3", "accepted, but corrected to 'cow'", "empty one of the two cells"]),
    ],
)
def test_a_bad_cell_is_named(tmp_path, entry, words):
    refused(written(tmp_path / "labels.csv", ledger_of(), r1=entry), *words)


def test_nothing_to_accept(tmp_path):
    path = written(tmp_path / "labels.csv", ledger_of(), r4=("accept", ""))
    refused(path, "line 6", "accepted, but there is no pseudo-label", "give the class as a correction")


def test_a_class_changed_in_place_is_no_correction(tmp_path):
    path = written(tmp_path / "labels.csv", ledger_of(), r0=("accept", ""))
    path.write_text(path.read_text().replace("photo-0.png,0,ant", "photo-0.png,0,bee"))
    refused(path, "line 2", "label 0 is 'ant' and the class says 'bee'", "as a correction")


def test_where_there_are_no_classes_samples_are_rejected_only(tmp_path):
    ledger = Ledger(list(IDS), ())
    path = written(tmp_path / "labels.csv", ledger, r0=("reject", ""))
    assert dict(read_review(path, ())) == {IDS[0]: -1}
    for entry in (("accept", ""), ("", "3")):
        refused(written(path, ledger, r0=entry), "no classes to accept or correct; only reject", classes=())


def test_unknown_ids_are_refused_where_something_is_decided(tmp_path):
    path = written(tmp_path / "labels.csv", ledger_of(), r1=("reject", ""))
    refused(path, "line 3", "unknown id 'photo-1.png'", "did you mean 'photo-", ids=IDS[2:])
    refused(path, "use the file with the pile it was made from", "007", ids={"x"})
    assert len(read_review(path, NAMES, {IDS[1]})) == 1  # nothing is decided on the others
    assert len(read_review(path, NAMES)) == 1


@pytest.mark.parametrize("decided", ["r0", "r3"])
def test_an_id_that_occurs_twice_is_refused(tmp_path, decided):
    ledger = ledger_of(("a", "b", "c", "a", "d"))
    refused(written(tmp_path / "labels.csv", ledger, **{decided: ("reject", "")}), "line 5", "id 'a' is that of 2, too")
    assert dict(read_review(written(tmp_path / "labels.csv", ledger, r1=("reject", "")), NAMES)) == {"b": -1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        (b"id,label\n", ["no column verdict, correction"]),
        (b"id,verdict,correction,verdict\n", ["column verdict twice"]),
        (b"id,verdict,correction\na,reject,,x\n", ["line 2", "4 cells under 3 columns"]),
        (b'id,verdict,correction\n"a,reject,\n', ["cannot read"]),
        (b"id,verdict,correction\ncaf\xe9,reject,\n", ["not in UTF-8"]),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, words):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    refused(path, *words)


# -- every strategy keeps to it ----------------------------------------------------------------------------------------
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3)).astype(np.float32)
Y = np.arange(60) % 3
X[np.arange(60), Y] += 3
PLAN = st.BatchPlan(6, 2.0)


def task_pile():
    """12 labeled rows and 48 unlabeled ones, three clouds."""
    return Pile.from_arrays(X, Y, labels=12, ids=[f"row {i}" for i in range(60)], classes=NAMES)


def of_the_pile(cls):
    """Builder of a strategy that learns labels of the whole pile, here those of an untrained network."""

    def make(task, learner, pile, **settings):
        return cls(task, learner, labels=label_pile(strategies.Supervised(task, learner, decay=None), pile), **settings)

    return make


def by_name(name):
    """Builder of one of the catalog's methods for a pile."""
    return lambda task, learner, pile, **settings: catalog.build(
        name, task, learner, unlabeled=len(pile.unlabeled), label_shape=(3,), **settings
    )


METHODS = {name: by_name(name) for name in catalog.METHODS if name != "supervised"}  # that one sees no unlabeled sample
METHODS |= {"noisy_student": of_the_pile(strategies.NoisyStudent)}
METHODS |= {"curriculum_labeling": of_the_pile(strategies.CurriculumLabeling)}
SETTINGS = {  # small batches, and labels unmixed, as the batch has them
    "soft_labels": {"min_labeled": 2, "alpha": 0.0},
    "curriculum_labeling": {"alpha": 0.0},
    "mixmatch": {"mix": Mixup(0.0)},
}


def make_strategy(name, pile):
    outputs = catalog.METHODS[name].outputs if name in catalog.METHODS else 1
    make = st.learner(lambda: toy.mlp(3, 3 * outputs, width=8), lr=0.01)
    return METHODS[name](Classification(3), make, pile, **SETTINGS.get(name, {}))


def test_the_methods_below_are_all_there_are():
    torch.manual_seed(0)
    made = {type(make_strategy(name, task_pile())).__name__ for name in METHODS}
    assert made == set(strategies.__all__) - {"Supervised"}


def spied(strategy, seen):
    """Note every sample and label that reaches a step."""
    inner = strategy.step

    def step(batch, clock, *extra):
        for index, label in zip(
            batch.labeled.index.tolist(), batch.labeled.target.value.argmax(1).tolist(), strict=True
        ):
            seen["labeled"].setdefault(index, set()).add(label)
        seen["unlabeled"].update(batch.unlabeled.index.tolist())
        return inner(batch, clock, *extra)

    strategy.step = step
    return strategy


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", METHODS)
def test_every_strategy_keeps_to_the_review(tmp_path, name):
    pile = task_pile()
    torch.manual_seed(0)
    first = st.fit(make_strategy(name, pile), pile, steps=8, plan=PLAN)
    ids, said = pile.unlabeled_ids(), first.ledger.label.tolist()
    wrong = (said[1] + 1) % 3  # a person may say anything
    path = first.ledger.to_csv(tmp_path / "pseudo_labels.csv")
    path = written(path, first.ledger, r0=("accept", ""), r1=("", NAMES[wrong]), r2=("reject", ""), r3=("reject", ""))
    review = read_review(path, pile.classes, set(ids))
    reviewed = pile.reviewed(review)
    gone = [ids[row] for row in range(4)]

    torch.manual_seed(0)
    seen = {"labeled": {}, "unlabeled": set()}
    strategy = spied(make_strategy(name, reviewed), seen)
    learned = spy_on_loss(strategy)
    second = st.fit(strategy, reviewed, steps=12, plan=PLAN)
    assert not set(gone) & set(second.ledger.ids)
    assert len(second.ledger) == 44
    assert seen["unlabeled"] == set(range(44))  # every row left, and no other
    assert bool((second.ledger.seen > 0).all())
    labels = {reviewed.labeled.ids[row]: found for row, found in seen["labeled"].items()}
    assert labels[gone[0]] == {said[0]}
    assert labels[gone[1]] == {wrong}
    assert not {gone[2], gone[3]} & set(labels)
    assert {name for name in labels if name not in gone} <= set(pile.labeled.ids)
    assert learned  # and the supervised loss was asked about exactly what the batches held
    assert [len(part) for part in (pile.labeled, pile.unlabeled)] == [12, 48]  # the old pile is as it was


def spy_on_loss(strategy):
    """Note that the targets of labeled samples, as the batch has them, reach the task's loss."""
    reached, loss, step = [], strategy.task.loss, strategy.step

    def spying(logits, target):
        reached.append(target.value.detach())
        return loss(logits, target)

    def checked(batch, clock, *extra):
        reached.clear()
        report = step(batch, clock, *extra)
        wanted, rows = batch.labeled.target.value, len(batch.labeled.index)
        checked.calls.append(any(torch.equal(value[:rows], wanted) for value in reached))
        assert checked.calls[-1]
        return report

    checked.calls = []
    strategy.task.loss, strategy.step = spying, checked
    return checked.calls


@pytest.mark.filterwarnings("ignore:no label for class")
def test_a_corrected_label_is_learned():
    """What is said of one sample decides what is predicted for it."""
    pile = task_pile()
    (name, *_), predicted = pile.unlabeled_ids(), []
    for label in (0, 1, 2):
        reviewed = Pile(None, pile.unlabeled, classes=NAMES, views=pile.views).reviewed({name: label})
        torch.manual_seed(0)
        strategy = strategies.Supervised(Classification(3), st.learner(lambda: toy.mlp(3, 3, width=8), lr=0.05))
        st.fit(strategy, reviewed, steps=20)
        (batch,) = reviewed.evaluation("labeled", 1, torch.device("cpu"))
        predicted.append(int(strategy.predict(batch.x).argmax()))
    assert predicted == [0, 1, 2]


def test_a_review_is_a_value():
    review = Review(("a", "b"), (1, -1), (True, False), "file.csv")
    assert review == Review(("a", "b"), (1, -1), (True, False), "file.csv")
    assert review != Review(("a", "b"), (1, 0), (True, False), "file.csv")
    assert list(review) == ["a", "b"]
    assert review["b"] == -1
    with pytest.raises(KeyError):
        review["c"]
