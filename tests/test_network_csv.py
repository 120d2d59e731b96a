"""Networks from CSV files: what is read, and how bad files are answered."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oleaster.sim.networks import Layer, NetworkError, read_csv


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_of_scalesim(tmp_path: Path) -> None:
    """As its own files are: blanks, a comma at the end of lines."""
    path = write(tmp_path, "Layer, M, N, K,\nq, 128, 768, 64,\nup, 1, 3072, 768,\n")
    network = read_csv(path)
    assert (network.name, network.description) == ("list", "GEMMs of list.csv")
    assert network.layers == (
        Layer("q", "linear", 128, 64, 768),
        Layer("up", "linear", 1, 768, 3072),
    )


def test_csv_in_other_clothes(tmp_path: Path) -> None:
    """Columns in another order and case, Excel's byte order mark and line ends, quotes."""
    text = '\ufeff"Name, ours",k,Sparsity,n,m\r\n\r\n"a, b",2,1:1,3,4\r\nc,5,,6,7\r\n,,,,\r\n'
    network = read_csv(write(tmp_path, text))
    assert network.layers == (Layer("a, b", "linear", 4, 2, 3), Layer("c", "linear", 7, 5, 6))


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
            *[st.integers(1, 1 << 26)] * 3,
        ),
        min_size=1,
    )
)
def test_csv_keeps_every_row(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    quoted = [('"' + name.replace('"', '""') + '"', *sizes) for name, *sizes in rows]
    lines = ["Layer,M,N,K", *(",".join(map(str, row)) for row in quoted)]
    path = write(tmp_path_factory.mktemp("csv"), "\n".join(lines))
    assert [(x.name, x.m, x.n, x.k) for x in read_csv(path).layers] == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "list.csv: is empty; its first line must be Layer, M, N, K"),
        ("\n \n,,\n", "list.csv: is empty"),
        ("Layer, M, N, K,\n", "has no row below the names"),
        ("Layer, M, K,\na, 1, 2,\n", "line 1: the column N is missing from Layer, M, K"),
        ("\nLayer; M; N; K\n", "line 2: the column M is missing from Layer; M; N; K"),
        ("M, N, K\n1, 2, 3\n", "line 1: the first column must have the layers' names"),
        ("Layer, M, N, K, Count\n", "line 1: the column 'count' is not known"),
        ("Layer, M, N, K, m\n", "line 1: the column M is there more than once"),
        ("Layer name, IFMAP Height, IFMAP Width,\n", "line 1: is SCALE-Sim's topology of conv"),
        ("Layer, M, N, K\na, 1, 2, 3\nb, 1, x, 3\n", "line 3: N is 'x'; it must be a whole number"),
        ("Layer, M, N, K\na, 1, 2, 0\n", "line 2: K is '0'; it must be a whole number, 1 .. 67"),
        ("Layer, M, N, K\na, -1, 2, 3\n", "line 2: M is '-1'"),
        ("Layer, M, N, K\na, 1.0, 2, 3\n", "line 2: M is '1.0'"),
        ("Layer, M, N, K\na, 1_0, 2, 3\n", "line 2: M is '1_0'"),
        ("Layer, M, N, K\na, 1, 2\n", "line 2: K is ''"),
        (f"Layer, M, N, K\na, 1, 2, {2**26 + 1}\n", "line 2: K is '67108865'"),
        (f"Layer, M, N, K\na, 1, 2, {'9' * 5000}\n", "line 2: K is '999"),
        ("Layer, M, N, K\na, 1, 2, 3, 4\n", "line 2: has 5 values for 4 columns"),
        ("Layer, M, N, K\n, 1, 2, 3\n", "line 2: the layer's name is empty"),
        ("Layer, M, N, K\na\x1b[2J, 1, 2, 3\n", r"line 2: .* 'a\\x1b\[2J' has control characters"),
        ('Layer, M, N, K\n"a\nb", 1, 2, 3\n', r"line 3: .* 'a\\nb' has control characters"),
        ("Layer, M, N, K, Sparsity\na, 1, 2, 3, 2:4\n", "line 2: sparsity is '2:4'; only dense"),
        (b"Layer, M, N, K\n\xff\xfe", r"list.csv: is not UTF-8 text \(byte 15\)"),
        (b"PK\x03\x04" + bytes(range(256)), "is not UTF-8"),
        (f'Layer, M, N, K\n"{"a" * 200_000}\n', "line 2: is not CSV"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        read_csv(write(tmp_path, content))


def test_csv_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"absent\.csv: cannot be read: No such file"):
        read_csv(tmp_path / "absent.csv")
    with pytest.raises(NetworkError, match="cannot be read: Is a directory"):
        read_csv(tmp_path)
