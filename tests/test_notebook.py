from alloyk.notebook import MAX_ROWS, html_table


def test_texts_are_escaped():
    html = html_table("<i>", ["<th>"], [["<script>"], [None], [0.123456]])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<td>0.1235</td>" in html


def test_a_long_table_is_cut():
    html = html_table("many", ["number"], [[n] for n in range(1000 + MAX_ROWS)])
    assert html.count("<tr>") == 2 + MAX_ROWS
    assert "… and 1,000 more" in html
