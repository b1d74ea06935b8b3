//! The text of an SVG file.

use std::fmt::Write;

/// Which end of a text its place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A file that grows. Writing to a string does not fail, so its results are not looked at.
#[derive(Debug)]
pub(super) struct Svg {
    text: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">"
        );
        Self { text }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    /// Left, top, width, height.
    pub(super) fn rectangle(&mut self, [x, y, width, height]: [f64; 4], style: &str) {
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {style}/>"
        );
    }

    pub(super) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        );
    }

    pub(super) fn broken_line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\" \
             stroke-dasharray=\"6 4\"/>"
        );
    }

    /// A line through all places.
    pub(super) fn path(&mut self, places: &[[f64; 2]], colour: &str, width: f64) {
        if places.len() < 2 {
            return;
        }
        let _ = write!(self.text, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" points=\"");
        for [x, y] in places {
            let _ = write!(self.text, "{x:.1},{y:.1} ");
        }
        self.text.push_str("\"/>\n");
    }

    /// One of eight shapes around a place.
    pub(super) fn marker(&mut self, [x, y]: [f64; 2], shape: usize, colour: &str) {
        let corners: &[(f64, f64)] = match shape {
            1 => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            2 => &[(0.0, -5.5), (5.0, 4.0), (-5.0, 4.0)],
            3 => &[(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
            4 => &[(-5.0, -4.0), (5.0, -4.0), (0.0, 5.5)],
            5 => &[(-6.0, -2.0), (-2.0, -6.0), (6.0, 2.0), (2.0, 6.0)],
            6 => &[(-5.5, -2.5), (0.0, 1.0), (5.5, -2.5), (5.5, 2.5), (0.0, 6.0), (-5.5, 2.5)],
            7 => &[(-5.5, 0.0), (-2.5, -4.5), (2.5, -4.5), (5.5, 0.0), (2.5, 4.5), (-2.5, 4.5)],
            _ => {
                let _ = writeln!(self.text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.2\" fill=\"{colour}\"/>");
                return;
            }
        };
        let _ = write!(self.text, "<polygon fill=\"{colour}\" points=\"");
        for (right, down) in corners {
            let _ = write!(self.text, "{:.1},{:.1} ", x + right, y + down);
        }
        self.text.push_str("\"/>\n");
    }

    /// `style` may hold attributes; the text itself is escaped.
    pub(super) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, style: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>");
    }
}

/// Text that cannot end its element. Control characters, which XML does not have, become blanks.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
