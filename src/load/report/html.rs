//! The results as one page that needs nothing else.

use std::fmt::Write as _;

use super::{Report, Second, float, table};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
     padding:0 1rem;color:#1b1f24;background:#fff}pre{background:#f5f6f8;padding:1rem;overflow:auto}\
     h2{font-size:1rem;margin:1.5rem 0 .3rem}svg{width:100%;height:auto;background:#f5f6f8}\
     @media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e6e6}\
     pre,svg{background:#1f2428}}";

/// Reads what a line shows.
type OfSecond = fn(&Second) -> f64;

/// The page.
pub fn page(report: &Report) -> String {
    let title = escaped(&format!("orderhub load: {}", report.scenario));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><p>{}</p><pre>{}</pre>",
        report.at,
        escaped(&table::table(report))
    );
    let charts: [(&str, OfSecond); 4] = [
        ("Members in their rooms", |second| float(second.inside as u64)),
        ("Messages sent a second", |second| float(second.sent)),
        ("Messages delivered a second", |second| float(second.seen)),
        ("Processor of the load generator, percent of a core", |second| second.cpu * 100.0),
    ];
    for (title, read) in charts {
        chart(&mut page, title, &report.seconds, read);
    }
    page += "</html>\n";
    page
}

/// A line over the seconds of the run, from 0 to its highest.
fn chart(page: &mut String, title: &str, seconds: &[Second], read: OfSecond) {
    let most = seconds.iter().map(read).fold(0.0, f64::max);
    let length = seconds.last().map_or(1.0, |second| second.at).max(1.0);
    let _ = write!(page, "<h2>{title} (at most {most:.0})</h2>");
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><polyline fill=\"none\" stroke=\"#2f74d0\" stroke-width=\"2\" points=\""
    );
    for second in seconds {
        let x = second.at / length * WIDTH;
        let y = HEIGHT - read(second) / most.max(1e-9) * (HEIGHT - 8.0) - 4.0;
        let _ = write!(page, "{x:.1},{y:.1} ");
    }
    page.push_str("\"/></svg>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::sample;

    #[test]
    fn the_page_is_whole_and_shows_names_as_text() {
        let mut report = sample();
        report.scenario = "<script>".to_owned();
        let page = page(&report);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("<script>") && !page.contains("http-equiv"));
        assert!(page.contains("&lt;script&gt;") && page.contains("<polyline"));
    }
}
