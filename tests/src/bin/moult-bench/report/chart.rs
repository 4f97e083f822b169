//! The report as a bar chart: server CPU per operation or bytes per session, one group per case.

use super::Row;

const WIDTH: f64 = 900.0;
const LABEL: f64 = 270.0;
const BAR: f64 = 14.0;
const GAP: f64 = 10.0;
/// What is shown of a row: the first of these that it has.
const SHOWN: [(&str, &str); 4] = [
    ("update_max_us", "µs at worst during an update"),
    ("srv_us_op", "µs of server CPU per operation"),
    ("srv_ms_login", "ms of server CPU per login"),
    ("pss_b_session", "bytes per session"),
];

struct Bar<'a> {
    group: String,
    unit: &'static str,
    server: &'a str,
    value: f64,
}

pub fn render(rows: &[Row]) -> String {
    let bars: Vec<Bar<'_>> = rows.iter().filter_map(bar).collect();
    let mut body = String::new();
    let mut y = GAP;
    for group in bars.chunk_by(|a, b| a.group == b.group) {
        let longest = group.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        body.push_str(&text(
            4.0,
            y + BAR - 3.0,
            " class='group'",
            &format!("{}, {}", group[0].group, group[0].unit),
        ));
        y += BAR + 4.0;
        for bar in group {
            let length = (bar.value / longest * (WIDTH - LABEL - 90.0)).max(1.0);
            body.push_str(&text(LABEL - 90.0, y + BAR - 3.0, "", bar.server));
            body.push_str(&format!(
                "<rect class='{}' x='{LABEL}' y='{y}' width='{length:.1}' height='{}'/>\n",
                bar.server,
                BAR - 2.0
            ));
            body.push_str(&text(LABEL + length + 6.0, y + BAR - 3.0, "", &super::table::number(bar.value)));
            y += BAR;
        }
        y += GAP;
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y}' viewBox='0 0 {WIDTH} {y}'>\n\
         <style>text {{ font: 11px sans-serif; fill: #222 }} .group {{ font-weight: bold }} .moult {{ fill: #2a7f62 }} \
         .ejabberd {{ fill: #c8702a }} .prosody {{ fill: #4a6fa5 }} .floor {{ fill: #999 }}</style>\n\
         <rect width='{WIDTH}' height='{y}' fill='#fff'/>\n{body}</svg>\n"
    )
}

fn bar(row: &Row) -> Option<Bar<'_>> {
    let (unit, value) = SHOWN.iter().find_map(|(name, unit)| {
        let (_, figure) = row.figures.iter().find(|(other, _)| other == name)?;
        Some((*unit, figure.median))
    })?;
    let group = format!("{}: {}", row.scenario, row.case);
    value.is_finite().then_some(Bar { group, unit, server: row.server, value })
}

fn text(x: f64, y: f64, class: &str, content: &str) -> String {
    format!("<text{class} x='{x:.1}' y='{y:.1}'>{content}</text>\n")
}
