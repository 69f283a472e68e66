"""As what columns are read: numbers, dates and names as people write them, at every door, and new tables alike."""

import warnings

import numpy as np
import pytest

from selftrain import data
from selftrain.data import TableEncoding, from_table
from selftrain.errors import DataError

pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng(0)
VALUES = [round(v, 2) for v in RNG.normal(size=60).tolist()]
PLAIN = [str(v) for v in VALUES]
DAYS = [f"2024-{i // 25 + 1:02}-{i % 25 + 1:02}" for i in range(60)]


def one_of(cells, *others):
    """Sixty cells, some of which say something else."""
    cells = list(cells)
    for place, other in enumerate(others):
        cells[7 * place + 3] = other
    return cells


def as_csv(columns, path, mark=","):
    lines = [mark.join(columns)]
    lines += [mark.join(f'"{c}"' if mark in c else c for c in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_parquet(columns, folder):
    pytest.importorskip("pyarrow")
    pandas.DataFrame(columns).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


DOORS = {
    "csv": lambda columns, folder: as_csv(columns, folder / "t.csv"),
    "semicolons": lambda columns, folder: as_csv(columns, folder / "s.csv", ";"),
    "parquet": as_parquet,
    "frame": lambda columns, folder: pandas.DataFrame(columns),
}
doors = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


def read(table, **settings):
    """Kind and note of each column, the encoded rows, and what was warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pile = from_table(table, "kind", **settings)
    kinds = {column.name: column for column in pile.summary.columns}
    return pile, kinds, [str(warning.message) for warning in told]


def cells(pile, name="h"):
    """The column as it was read, missing ones NaN."""
    encoding = TableEncoding.from_dict(pile.encoding)
    x = np.concatenate([part.images(np.arange(len(part))).numpy() for part in (pile.labeled, pile.unlabeled) if part])
    order = [int(i) for part in (pile.labeled, pile.unlabeled) if part for i in part.ids]
    place = [column.name for column in encoding.columns].index(name)
    column = encoding.columns[place]
    found = np.empty(len(x))
    found[order] = x[:, place] * column.std + column.mean
    if column.indicator:
        lacking = np.empty(len(x))
        lacking[order] = x[:, list(encoding.features).index(name + "?missing")]
        found[lacking > 0] = np.nan
    return found


KIND = ["ab"[i % 2] for i in range(60)]
comma = [cell.replace(".", ",") for cell in PLAIN]
nan = float("nan")
THOUSANDS = [1000.5 + 1000 * i for i in range(60)]
# cells, what they mean, and a word of the warning, if any
NUMBERS = {
    "plain": (PLAIN, VALUES, None),
    **{
        f"one {marker}": (one_of(PLAIN, marker), one_of(VALUES, nan), marker)
        for marker in ("-", ".", "<0.05", "> 100", "missing", "NAN", "n.d.", "N.D.", "#DIV/0!", "unknown", "7O")
    },
    "most below detection": (one_of(PLAIN, *["bd"] * 8), one_of(VALUES, *[nan] * 8), "'bd' 8 x"),
    "a word again and again": (one_of(PLAIN, *["trace"] * 8), one_of(VALUES, *[nan] * 8), "'trace' 8 x"),
    "several markers": (one_of(PLAIN, "-", "n.d.", "<0.05"), one_of(VALUES, nan, nan, nan), "-"),
    "decimal commas": (comma, VALUES, None),
    "commas and a marker": (one_of(comma, "-"), one_of(VALUES, nan), "-"),
    "thousands": ([f"{v:,.1f}" for v in THOUSANDS], THOUSANDS, None),
    "european thousands": (
        [f"{v:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".") for v in THOUSANDS], THOUSANDS, None,
    ),
    "swiss thousands": ([f"{v:,.1f}".replace(",", "'") for v in THOUSANDS], THOUSANDS, None),
    "spaces between": ([f"{v:,.1f}".replace(",", "\u00a0") for v in THOUSANDS], THOUSANDS, None),
    "percent": ([f"{v} %" for v in VALUES], VALUES, None),
    "dollars": ([f"${v}".replace("$-", "-$") for v in VALUES], VALUES, None),
    "euros behind": ([f"{v} €" for v in comma], VALUES, None),
    "kilograms": ([f"{v} kg" for v in VALUES], VALUES, None),
    "spaces around": ([f"  {v} " for v in VALUES], VALUES, None),
    "exponents": ([f"{v:.3e}" for v in VALUES], VALUES, None),
    "a minus of typesetters": ([cell.replace("-", "\u2212") for cell in PLAIN], VALUES, None),
    "accounts": ([cell if cell[0] != "-" else f"({cell[1:]})" for cell in PLAIN], VALUES, None),
}  # fmt: skip


@doors
@pytest.mark.parametrize("case", NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_read_as_they_are_written(door, case, tmp_path):
    written, meant, word = case
    pile, columns, told = read(door({"h": written, "w": PLAIN, "kind": KIND}, tmp_path))
    assert columns["h"].kind == "number"
    assert np.allclose(cells(pile), meant, atol=2e-3 * max(1, np.nanmax(np.abs(meant)) / 1000), equal_nan=True)
    missing = int(np.isnan(meant).sum())
    assert (f"{missing} missing" in columns["h"].note) == bool(missing)
    assert bool(told) == bool(word)
    if word:
        assert "h (" in told[0]
        assert word in told[0]
        assert data.check(pile).of("reading") == []
        assert told[0] in data.check(pile).text()


DAY_FORMS = {
    "iso": "%Y-%m-%d",
    "with time": "%Y-%m-%d %H:%M:%S",
    "iso T": "%Y-%m-%dT%H:%M:%SZ",
    "german": "%d.%m.%Y",
    "german short": "%d.%m.%y",
    "american": "%m/%d/%Y",
    "british": "%d/%m/%Y",
    "slashes": "%Y/%m/%d",
    "eight digits": "%Y%m%d",
    "words": "%d %b %Y",
    "american words": "%B %d, %Y",
    "minutes": "%d.%m.%Y %H:%M",
    "half days": "%m/%d/%Y %I:%M %p",
}


@doors
@pytest.mark.parametrize("layout", DAY_FORMS.values(), ids=DAY_FORMS)
def test_dates_are_days(door, layout, tmp_path):
    moments = pandas.to_datetime(pandas.Series(DAYS))
    pile, columns, told = read(door({"h": moments.dt.strftime(layout).tolist(), "w": PLAIN, "kind": KIND}, tmp_path))
    assert columns["h"].kind == "date"
    assert columns["h"].note.startswith("2024-01-01 to 2024-03-10")
    meant = (moments - pandas.Timestamp(0)).dt.days.to_numpy()
    assert np.allclose(cells(pile), meant, atol=1e-3)
    assert not told


@pytest.mark.parametrize("how", ["frame", "parquet", "zone", "object", "array"])
def test_dates_of_programs_are_days(how, tmp_path):
    moments = pandas.to_datetime(pandas.Series(one_of(DAYS, None)))
    frame = pandas.DataFrame({"h": moments, "kind": KIND})
    if how == "zone":
        frame["h"] = frame["h"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    if how == "object":
        frame["h"] = pandas.Series([None if day is pandas.NaT else day.date() for day in moments], dtype=object)
    table = frame
    if how == "parquet":
        frame.to_parquet(tmp_path / "t.parquet")
        table = tmp_path / "t.parquet"
    if how == "array":
        table = {"h": moments.to_numpy(), "kind": KIND}
    pile, columns, _ = read(table)
    assert columns["h"].kind == "date"
    assert "1 missing" in columns["h"].note
    meant = one_of([19723 + i // 25 * 31 - (i // 50 * 2) + i % 25 for i in range(60)], nan)
    assert np.allclose(cells(pile), meant, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("numbers", [list, np.array, pandas.Series])
def test_eight_digits_are_days_in_every_format(numbers):
    eight = [int(day.replace("-", "")) for day in DAYS]
    pile, columns, _ = read({"h": numbers(eight), "kind": KIND})
    assert columns["h"].note == "2024-01-01 to 2024-03-10, written %Y%m%d"
    encoding = TableEncoding.from_dict(pile.encoding)
    for again in (["20240105"], [20240105], ["2024-01-05"], pandas.to_datetime(["2024-01-05"])):
        assert encoding.decode(encoding.encode({"h": again})[0]) == {"h": "2024-01-05"}
    short = [1224, 1225] * 30
    assert read({"h": numbers(short), "kind": KIND}, columns={"h": "date:%m%y"})[1]["h"].kind == "date"


def test_ids_too_long_for_numbers_are_told():
    long = [1234567890123456789 + i * 7 for i in range(60)]
    for cells_of in (list(map(str, long)), long, np.array(long)):
        _, _, told = read({"h": cells_of, "w": PLAIN, "kind": KIND})
        assert "lose some, and are rather ids" in told[0]
    for name in ("customer_id", "patientId", "ID"):
        _, _, told = read({name: RNG.permutation(9999)[:60], "w": PLAIN, "kind": KIND})
        assert f"row numbers or ids are learned from like measurements: {name} (" in told[0]


def test_times_of_day_and_durations(tmp_path):
    clock = [f"{i // 4:02}:{i % 4 * 15:02}" for i in range(60)]
    pile, columns, _ = read({"h": clock, "kind": KIND})
    assert (columns["h"].kind, columns["h"].note) == ("date", "00:00:00 to 14:45:00, written %H:%M")
    assert np.allclose(cells(pile), np.arange(60) / 96, atol=1e-6)
    pile, columns, _ = read({"h": pandas.to_timedelta(np.arange(60), unit="h"), "kind": KIND})
    assert columns["h"].kind == "number"
    assert np.allclose(cells(pile), np.arange(60) / 24, atol=1e-6)


# --- what stays a name


@doors
@pytest.mark.parametrize(
    "names",
    [["yes", "no"], ["true", "false"], ["TRUE", "FALSE"], ["red", "blue", "-"], ["2", "4", "5more"], ["12a", "13b"],
     ["1.2.3", "1.2.4"], ["3:1", "10:2"], ["4WD", "2WD"], ["20-30", "30-40"], ["A1", "A2"], ["M", "F", "unknown"]],
    ids=str,
)  # fmt: skip
def test_few_names_are_categories(door, names, tmp_path):
    pile, columns, told = read(door({"h": (names * 60)[:60], "w": PLAIN, "kind": KIND}, tmp_path))
    assert (columns["h"].kind, columns["h"].note) == ("category", f"{len(names)} values")
    assert not told


def test_truth_values_are_the_same_names_however_they_are_written(tmp_path):
    first = from_table(pandas.DataFrame({"h": [True, False] * 4, "kind": list("aabb") * 2}), "kind")
    encoding = TableEncoding.from_dict(first.encoding)
    spread = as_csv({"h": ["TRUE", "false"]}, tmp_path / "t.csv")
    assert encoding.encode(spread)[:, 0].tolist() == encoding.encode({"h": [True, False]})[:, 0].tolist() == [2, 1]


def test_what_its_owner_calls_a_category_is_one(tmp_path):
    coded = pandas.Series([3, 1, 2] * 20).astype("category")
    frame = pandas.DataFrame({"h": coded, "w": VALUES, "kind": KIND})
    assert read(frame)[1]["h"].kind == "category"
    frame.to_parquet(tmp_path / "t.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"h": pyarrow.array(["3", "1", "2"] * 20).dictionary_encode(), "kind": KIND})
    assert read(table)[1]["h"].kind == "category"
    assert read(frame, columns={"h": "number"})[1]["h"].kind == "number"


# --- what is doubtful is told, and the remedy that is told helps

DOUBTS = {
    "own names": ([f"name {i}" for i in range(60)], "name of its own", {"columns": {"h": "drop"}}),
    "row numbers": ([str(i) for i in range(60)], "row numbers or ids", {"columns": {"h": "drop"}}),
    "leading zeros": ([f"{i * 7 % 50:05}" for i in range(60)], "leading zeros", {"columns": {"h": "category"}}),
    "two ways of dates": (
        [f"{i % 5 + 1:02}/{i % 7 + 1:02}/2024" for i in range(60)],
        "dates can be read in two ways",
        {"columns": {"h": "date:%d/%m/%Y"}},
    ),
    "names and numbers": (
        one_of(PLAIN, *"abcdefgh"),
        "most cells are numbers",
        {"columns": {"h": "number"}},
    ),
    "gaps": (one_of(PLAIN, "-"), "read as missing", {"columns": {"h": "category"}}),
}


@doors
@pytest.mark.parametrize("case", DOUBTS.values(), ids=DOUBTS)
def test_what_is_doubtful_is_told_and_the_remedy_helps(door, case, tmp_path):
    written, word, remedy = case
    table = door({"h": written, "w": PLAIN, "kind": KIND}, tmp_path)
    pile, _, told = read(table)
    assert len(told) == 1
    assert word in told[0]
    assert "h (" in told[0]
    assert f"columns={remedy['columns']}" in told[0]
    found = [(finding.level, finding.text) for finding in data.check(pile).findings if finding.kind == "reading"]
    assert found == [("note" if word == "read as missing" else "harms", told[0])]
    # cells that are made missing are counted all the same
    assert not [text for text in read(table, **remedy)[2] if word in text]


def test_thousands_or_decimals_is_asked_where_nothing_tells(tmp_path):
    written = [f"{1 + i % 9},{i * 13 % 1000:03}" for i in range(60)]
    table = {"h": written, "w": KIND, "kind": KIND}
    pile, _, told = read(table)
    assert "numbers can be read in two ways: h ('1,000' as 1000)" in told[0]
    assert 'say decimal="," or decimal="."' in told[0]
    assert np.isclose(cells(pile)[1], 2013)
    for decimal, meant in ((",", 2.013), (".", 2013)):
        pile, _, told = read(table, decimal=decimal)
        assert not told
        assert np.isclose(cells(pile)[1], meant)
    # another column, or the semicolons of a spreadsheet, tell
    assert np.isclose(cells(read(table | {"w": comma})[0])[1], 2.013)
    assert np.isclose(cells(read(as_csv(table, tmp_path / "t.csv", ";"))[0])[1], 2.013)
    assert np.isclose(cells(read(as_csv(table, tmp_path / "t.csv"))[0])[1], 2013)


def test_semicolons_with_decimal_points_stay_decimals(tmp_path):
    written = [f"{1 + i % 9}.{i * 13 % 1000:03}" for i in range(60)]
    pile, _, told = read(as_csv({"h": written, "w": PLAIN, "kind": KIND}, tmp_path / "t.csv", ";"))
    assert np.isclose(cells(pile)[1], 2.013)
    assert not told


# --- what cannot be read is refused by name


@doors
def test_points_and_commas_in_one_column_are_refused(door, tmp_path):
    table = door({"h": [*PLAIN[:30], *comma[30:]], "w": PLAIN, "kind": KIND}, tmp_path)
    with pytest.raises(DataError, match=r"column 'h': '.*' has a decimal point and '.*' a decimal comma"):
        read(table)
    assert read(table, columns={"h": "drop"})[1]["h"].kind == "left out"


def test_text_is_refused_with_a_remedy(tmp_path):
    table = {"h": [f"a text {i}" for i in range(150)], "w": list(range(2, 152)), "kind": ["a", "b"] * 75}
    with pytest.raises(DataError, match=r"row 0: h is 'a text 0'.* 150 different ones.*columns=\{'h': 'drop'\}"):
        read(table)
    assert read(table, columns={"h": "drop"})[1]["h"].kind == "left out"
    assert "a text 7" in read(table, id="h")[0].labeled.ids
    assert read(table, max_categories=150)[1]["h"].note == "150 values"
    mostly = [*map(str, range(100)), *"abcdefghijklmnopqrstuvwxyz" * 2]
    with pytest.raises(DataError, match=r"columns=\{'h': 'number'\}"):
        read({"h": mostly, "kind": ["a", "b"] * 76})
    assert read({"h": mostly, "kind": ["a", "b"] * 76}, columns={"h": "number"})[1]["h"].kind == "number"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": "number"}, "no column 'x'; its columns are h, w, kind"),
        ({"h": "text"}, "columns calls 'h' 'text'; say number"),
        ({"h": "date:dmy"}, "columns calls 'h' 'date:dmy'"),
        ({"kind": "drop"}, "columns calls 'kind' 'drop', but it is label or id"),
        ({"w": "number"}, "columns calls 'w' 'number', but it is also named as category"),
        ({"h": "date"}, r"columns calls 'h' a date, but no cell is one: '.*say category"),
    ],
)
def test_kinds_that_are_none_are_refused(columns, message):
    with pytest.raises(DataError, match=message):
        read({"h": PLAIN, "w": KIND, "kind": KIND}, columns=columns, categorical=["w"])


def test_cells_that_are_no_numbers_at_all_are_refused():
    for strange in (np.array([1j] * 60), [[1.0]] * 60, [np.zeros(2)] * 60, [{"a": 1}] * 60):
        with pytest.raises(DataError, match=r"column 'h' holds .*columns=\{'h': 'drop'\}"):
            read({"h": strange, "w": PLAIN, "kind": KIND})
        _, kinds, _ = read({"h": strange, "w": PLAIN, "kind": KIND}, columns={"h": "drop"})
        assert (kinds["h"].kind, kinds["w"].kind) == ("left out", "number")


# --- missing


def test_numbers_that_mean_missing_do_so_in_every_format(tmp_path):
    written = one_of(PLAIN, "-999", "-999")
    meant = one_of(VALUES, nan, nan)
    for table in (written, [float(cell) for cell in written], pandas.Series(written).astype(float)):
        pile, _, _ = read({"h": table, "kind": KIND}, missing=["-999"])
        assert np.allclose(cells(pile), meant, atol=1e-3, equal_nan=True)


def test_few_numbers_with_a_marker_are_numbers():
    pile, columns, told = read({"h": ["1", "0", "-"] * 20, "kind": KIND})
    assert columns["h"].kind == "number"
    assert "'-' 20 x" in told[0]
    assert np.allclose(cells(pile), [1, 0, nan] * 20, atol=1e-6, equal_nan=True)


def test_an_empty_cell_is_missing_whatever_else_is():
    pile, columns, _ = read({"h": one_of(PLAIN, "", "none"), "kind": KIND}, missing=["none"])
    assert "2 missing" in columns["h"].note


# --- new tables


@doors
def test_new_tables_are_read_alike(door, tmp_path):
    first = {"h": one_of(PLAIN, "-"), "d": DAYS, "p": [f"{v} %" for v in VALUES], "c": KIND, "kind": KIND}
    encoding = TableEncoding.from_dict(read(first)[0].encoding)
    new = {"h": ["1,5", "n.d."], "d": ["31.12.2024", "01.01.2025"], "p": ["2,5 %", "3,5 %"], "c": ["a", "z"]}
    plain = {"h": ["1.5", ""], "d": ["2024-12-31", "2025-01-01"], "p": ["2.5 %", "3.5 %"], "c": ["a", ""]}
    with pytest.warns(UserWarning, match="read as missing") as told:
        found = encoding.encode(door(new, tmp_path))
    assert np.array_equal(found, encoding.encode(plain))
    assert [str(w.message).partition(":")[2] for w in told][0].startswith(" h ('n.d.' 1 x)")
    assert str(told[1].message) == "names that training did not have were read as missing: c ('z' 1 x)"


def test_every_part_may_have_its_own_decimal_sign(tmp_path):
    points, commas = {"h": PLAIN, "w": PLAIN, "kind": KIND}, {"h": comma, "w": comma, "kind": KIND}
    point_file, comma_file = as_csv(points, tmp_path / "p.csv"), as_csv(commas, tmp_path / "c.csv", ";")
    for first, second in ((point_file, comma_file), (comma_file, point_file)):
        pile, columns, told = read(first, unlabeled=second, test=second)
        assert not told
        assert columns["h"].kind == "number"
        assert same_rows(pile.labeled, pile.unlabeled)
        assert same_rows(pile.labeled, pile.test)


def same_rows(one, other):
    return np.array_equal(*(part.images(np.arange(60)).numpy() for part in (one, other)))


def test_new_tables_that_mean_something_else_are_refused():
    first = {"h": PLAIN, "d": DAYS, "p": [f"{v} %" for v in VALUES], "kind": KIND}
    encoding = TableEncoding.from_dict(read(first)[0].encoding)
    good = {"h": ["1"], "d": ["2024-01-01"], "p": ["1 %"]}
    encoding.encode(good)
    for name, cell, message in (
        ("h", "big", "row 0: h is 'big', which is no finite number"),
        ("h", "1 kg", "row 0: h is '1 kg', which is no finite number"),
        ("p", "0.01", "row 0: p is '0.01', which is no number with '%'"),
        ("d", "soon", "row 0: d is 'soon', which is no date"),
    ):
        with pytest.raises(DataError, match=message):
            encoding.encode(good | {name: [cell]})
    with pytest.raises(DataError, match="d holds numbers, and was learned from dates"):
        encoding.encode(good | {"d": [5.0]})
    with pytest.raises(DataError, match="h holds dates, and was learned from numbers"):
        encoding.encode(good | {"h": pandas.to_datetime(["2024-01-01"])})
    with pytest.raises(DataError, match="p holds numbers, and was learned from numbers with '%'"):
        encoding.encode(good | {"p": [0.5]})


def test_a_person_sees_dates_and_units():
    pile, _, _ = read({"d": DAYS, "p": [f"{v} %" for v in VALUES], "kind": KIND})
    encoding = TableEncoding.from_dict(pile.encoding)
    row = encoding.decode(encoding.encode({"d": ["2024-02-03"], "p": ["12 %"]})[0])
    assert row == {"d": "2024-02-03", "p": "12%"}


# --- what was left out is said


def test_columns_that_are_left_out_are_said(tmp_path):
    columns = {"": PLAIN, "x": PLAIN, "none": [""] * 60, "id": [f"r{i}" for i in range(60)], "kind": KIND, "n": KIND}
    with pytest.warns(UserWarning, match="column without a name"):
        pile = from_table(as_csv(columns, tmp_path / "t.csv"), "kind", id="id", columns={"n": "drop"})
    assert pile.summary_lines()[-1] == "left out   3 columns: none (empty), n (dropped), one without a name"
    assert pile.summary_lines()[3].startswith("columns    1 number: x (")


def test_bars_separate_cells_too(tmp_path):
    assert list(read(as_csv({"h": comma, "w": PLAIN, "kind": KIND}, tmp_path / "b.csv", "|"))[1]) == ["h", "w"]


def test_spaces_around_names_of_columns_say_nothing():
    pile, columns, _ = read(pandas.DataFrame({" h ": VALUES, "kind ": KIND}))
    assert list(columns) == ["h"]
    both = pandas.DataFrame({"h": VALUES, "h ": VALUES, "kind": KIND})
    assert list(read(both)[1]) == ["h", "h "]


# --- the column of the classes


@doors
def test_measured_numbers_are_no_classes(door, tmp_path):
    table = door({"h": PLAIN, "price": [str(v + 50) for v in VALUES], "kind": KIND}, tmp_path)
    with pytest.raises(
        DataError, match=r"price is .*, a measured number and no class; name the column .*h, price, kind"
    ):
        from_table(table, "price")
    from_table(table, "kind")
    halves = [str(i % 9 / 2) for i in range(60)]  # stars that somebody gave
    assert len(from_table(door({"h": PLAIN, "stars": halves}, tmp_path), "stars").classes) == 9


def test_a_class_for_each_label_is_told():
    table = {"h": PLAIN, "name": [f"r{i}" for i in range(60)], "kind": KIND}
    with pytest.warns(UserWarning, match=r"class of its own: name \(60 classes in 60 labels\).*label=\.\.\."):
        pile = from_table(table, "name")
    assert not data.check(pile).ok
    _, _, told = read(table, columns={"name": "drop"})
    assert not told


def test_a_table_without_a_named_column_of_classes_says_so():
    pile = from_table({"h": PLAIN, "kind": KIND})
    with pytest.raises(DataError, match=r"no column was named as that of the classes \(label=...\); there are h, kind"):
        pile.require_labels()


def test_an_encoder_of_other_columns_is_refused_with_what_to_say():
    table = {"h": PLAIN, "w": PLAIN, "kind": KIND}
    encoder = from_table(table).card()  # no label was named: the column of the classes was learned from
    with pytest.raises(DataError, match=r"learn both from the same columns \(the same label=... and columns=...\)"):
        from_table(table, "kind").normalized_as(encoder)
    from_table(table, "kind").normalized_as(from_table(table, "kind").card())


def test_days_can_be_classes():
    pile = from_table(
        pandas.DataFrame({"h": VALUES, "day": pandas.to_datetime(["2024-01-01", "2024-01-02"] * 30)}), "day"
    )
    assert list(pile.classes) == ["2024-01-01", "2024-01-02"]


def test_a_first_line_of_data_is_told(tmp_path):
    (tmp_path / "t.csv").write_text("5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,3.1,other\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"reads like data: .*t.csv \(5.1, 3.5\); add a line of names"):
        from_table(tmp_path / "t.csv")
