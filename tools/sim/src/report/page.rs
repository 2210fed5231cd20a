//! The few pieces of HTML the page is put together from; the only place where text becomes markup.

/// Text that can stand in an element, in an attribute, or in a chart's label (charts read tags and entities too).
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Words, to the left.
    Text,
    /// Numbers, to the right, digits of one width.
    Number,
}

/// A table; every cell is escaped here. Without rows, `empty` is said instead.
pub(super) fn table(head: &[(&str, Column)], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("<p class=\"none\">{}</p>\n", escape(empty));
    }
    let class = |column: Column| if column == Column::Number { " class=\"n\"" } else { "" };
    let mut html = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    for (name, column) in head {
        html.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(*column), escape(name)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (cell, (_, column)) in row.iter().zip(head) {
            html.push_str(&format!("<td{}>{}</td>", class(*column), escape(cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// A part of the page under its heading, with a sentence that says how to read it; `body` is markup already.
pub(super) fn section(id: &str, heading: &str, lead: &str, body: &str) -> String {
    format!(
        "<section id=\"{id}\">\n<h2>{}</h2>\n<p class=\"lead\">{}</p>\n{body}</section>\n",
        escape(heading),
        escape(lead)
    )
}

/// A chart in its frame: what the chart crate printed, so high, described for those who cannot see it.
pub(super) fn figure(caption: &str, height_px: usize, chart: &str) -> String {
    let caption = escape(caption);
    format!(
        "<figure><figcaption>{caption}</figcaption><div class=\"chart\" role=\"img\" aria-label=\"{caption}\" \
         style=\"height:{height_px}px\">{chart}</div></figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::Column;
    use super::escape;
    use super::table;

    #[test]
    fn escaped_text_opens_no_tag_and_leaves_no_attribute() {
        assert_eq!(escape("<b a='1' c=\"2\">&amp;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
    }

    #[test]
    fn a_table_escapes_heads_and_cells_and_says_so_when_it_is_empty() {
        let html = table(&[("<h>", Column::Text)], &[vec!["<i>".to_owned()]], "nothing");
        assert!(html.contains("&lt;h&gt;") && html.contains("&lt;i&gt;") && !html.contains("<i>"));
        assert_eq!(table(&[("a", Column::Text)], &[], "<none>"), "<p class=\"none\">&lt;none&gt;</p>\n");
    }
}
