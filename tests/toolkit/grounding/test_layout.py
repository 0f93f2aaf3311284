"""Pages in Qwen3-VL's HTML and Markdown, whole, cut off and damaged."""

from toolkit.grounding import read_layout

PAGE = """```html
<html><body>
<h2 data-bbox="60 40 620 110"> Region-based &amp; more </h2>
<p data-bbox="60 130 940 300">Let us <b>first</b>
 determine markers.</p>
<ol data-bbox="60 310 900 400"><li data-bbox="60 310 900 350">one</li><li data-bbox="60 355 900 400">two<br></li></ol>
<table data-bbox="70 420 900 600"><tr><th>good</th><th>price</th></tr><tr><td>Tea</td><td>2.50</td></tr></table>
<div class="image" data-bbox="70 620 500 900"><img data-bbox="70 620 500 900"/></div>
</body></html>
```"""


def test_html_keeps_order_boxes_text_and_tables():
    reading = read_layout(PAGE)
    assert reading.problems == ()
    assert [thing.label for thing in reading.objects] == ["h2", "p", "ol", "li", "li", "table", "image", "img"]
    heading, paragraph, listed, *_ = reading.objects
    assert (heading.text, heading.box) == ("Region-based & more", (60, 40, 620, 110))
    assert paragraph.text == "Let us first determine markers."
    assert listed.text == "onetwo"
    assert reading.objects[5].rows == (("good", "price"), ("Tea", "2.50"))


def test_html_that_is_cut_off_gives_what_was_there():
    reading = read_layout(PAGE[: PAGE.index("Tea") + 2])
    assert reading.problems == ("cut off",)
    assert reading.objects[0].text == "Region-based & more"
    assert reading.objects[-1].rows == (("good", "price"), ("Te",))


def test_a_damaged_box_is_named_and_its_text_stays():
    reading = read_layout(
        '<p data-bbox="60 40 NaN 110">a</p><p data-bbox="1 2 3">b</p><p data-bbox="9 9 1 1">c</p></i>'
    )
    assert [(thing.text, thing.box) for thing in reading.objects] == [("a", None), ("b", None), ("c", (1, 1, 9, 9))]
    assert reading.problems == ("'p': not 4 finite numbers",) * 2


MARKDOWN = r"""# A page

Some words.

<!-- Image (73, 122, 480, 360) -->

<!-- Table (73, 400, 480, 560) -->
\begin{tabular}{|l|r|}
\hline
good & price \\
Tea & 2.50 \\
\hline
\end{tabular}

The end."""


def test_markdown_has_boxes_for_images_and_tables_only():
    reading = read_layout(MARKDOWN)
    assert [(thing.label, thing.box) for thing in reading.objects] == [
        ("heading", None),
        ("text", None),
        ("image", (73, 122, 480, 360)),
        ("table", (73, 400, 480, 560)),
        ("text", None),
    ]
    assert reading.objects[3].rows == (("good", "price"), ("Tea", "2.50"))
    assert reading.objects[0].text == "A page"


def test_a_table_without_a_comment_and_an_image_in_a_paragraph():
    reading = read_layout("\\begin{tabular}{l} a & b \\\\ \\end{tabular}\n\n<!-- Image (1, 2, 3, x) --> words")
    assert [(thing.label, thing.box) for thing in reading.objects] == [("table", None), ("image", None), ("text", None)]
    assert reading.problems == ("'image': not 4 finite numbers",)


def test_an_answer_that_is_no_page():
    assert read_layout("").objects == ()
    assert [thing.text for thing in read_layout("I can't tell.").objects] == ["I can't tell."]
