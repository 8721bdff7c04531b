//! Charts as SVG: lines over axes that are linear or logarithmic. All colours come from `chart.css`, so that one
//! picture serves light and dark. Nothing here knows what is drawn.

use std::fmt::Write as _;

use crate::bench::page::ticks::{Scale, Ticks};

/// How many curves have colours of their own.
pub(super) const COLOURS: usize = 8;

const STYLE: &str = include_str!("chart.css");

const WIDTH: f64 = 720.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 62.0;
const PLOT_HEIGHT: f64 = 290.0;
const LEGEND_ROW: f64 = 22.0;
const SWATCH: f64 = 26.0;
/// Of a letter in the legend, on average and a little more, since the font is the reader's.
const LETTER_WIDTH: f64 = 7.4;

pub(super) struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// Drawn in this order, later ones above.
    pub curves: Vec<Curve>,
}

pub(super) struct Axis {
    pub title: String,
    pub scale: Scale,
    /// What a tick is called.
    pub tick: Box<dyn Fn(f64) -> String>,
}

pub(super) struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub look: Look,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// In a colour of its own.
    Line { colour: usize, has_marks: bool },
    /// What the lines are compared with.
    Yardstick,
    /// What the lines stand above.
    Under,
}

impl Chart {
    /// The picture as part of a page that has the style.
    pub fn inline(&self) -> String {
        self.to_svg("", "")
    }

    /// The picture as a file of its own.
    pub fn file(&self) -> String {
        self.to_svg(" xmlns=\"http://www.w3.org/2000/svg\"", &format!("<style>{STYLE}</style>\n"))
    }

    /// The style that inline pictures need, once.
    pub fn style() -> &'static str {
        STYLE
    }

    fn to_svg(&self, namespace: &str, style: &str) -> String {
        let frame = Frame::of(self);
        let mut body = String::new();
        frame.axes(self, &mut body);
        for curve in &self.curves {
            frame.curve(curve, &mut body);
        }
        let height = self.legend(&mut body);
        let title = escape(&self.title);
        format!(
            "<svg{namespace} class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
             {style}<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n{body}</svg>\n"
        )
    }

    /// Adds the names of the curves below the plot; returns the height of the picture.
    fn legend(&self, body: &mut String) -> f64 {
        let (mut x, mut y) = (16.0, TOP + PLOT_HEIGHT + 64.0);
        for curve in &self.curves {
            let width = SWATCH + 8.0 + curve.name.chars().count() as f64 * LETTER_WIDTH + 14.0;
            if x + width > WIDTH && x > 16.0 {
                (x, y) = (16.0, y + LEGEND_ROW);
            }
            let (end, middle) = (x + SWATCH, y - 4.5);
            let _ = match curve.look {
                Look::Under => {
                    writeln!(
                        body,
                        "<rect class=\"under\" x=\"{x}\" y=\"{}\" width=\"{SWATCH}\" height=\"10\"/>",
                        y - 10.0
                    )
                }
                look => writeln!(body, "<path class=\"{}\" d=\"M{x:.1} {middle}H{end:.1}\"/>", look.class()),
            };
            let _ = writeln!(body, "<text x=\"{:.1}\" y=\"{y}\">{}</text>", end + 8.0, escape(&curve.name));
            x += width;
        }
        y + 16.0
    }
}

impl Look {
    fn class(self) -> String {
        match self {
            Look::Line { colour, .. } => format!("curve c{}", colour % COLOURS),
            Look::Yardstick => "yardstick".to_owned(),
            Look::Under => "under".to_owned(),
        }
    }
}

/// The plot's area, with both axes fitted to the curves.
struct Frame {
    x: Ticks,
    y: Ticks,
}

impl Frame {
    /// What only stands under the curves does not widen the axes, except that it shows its height.
    fn of(chart: &Chart) -> Self {
        let is_under = |curve: &&Curve| curve.look == Look::Under;
        let above: Vec<(f64, f64)> = chart
            .curves
            .iter()
            .filter(|curve| !is_under(curve))
            .flat_map(|curve| curve.points.iter().copied())
            .collect();
        let end = above.iter().map(|point| point.0).fold(0.0, f64::max);
        let under = chart.curves.iter().filter(is_under).flat_map(|curve| &curve.points);
        let height = under.filter(|point| point.0 <= end).map(|point| point.1).fold(0.0, f64::max);
        let xs: Vec<f64> = above.iter().map(|point| point.0).collect();
        let lowest = above.iter().map(|point| point.1).fold(f64::MAX, f64::min);
        let ys: Vec<f64> = above.iter().map(|point| point.1).chain([height.max(lowest)]).collect();
        Frame { x: Ticks::fit(chart.x.scale, &xs), y: Ticks::fit(chart.y.scale, &ys) }
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.place(value)) * PLOT_HEIGHT
    }

    fn axes(&self, chart: &Chart, body: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, TOP + PLOT_HEIGHT);
        let (mut minor, mut grid) = (String::new(), String::new());
        let horizontal = |y: f64, path: &mut String| _ = write!(path, "M{LEFT} {y:.1}H{right}");
        let vertical = |x: f64, path: &mut String| _ = write!(path, "M{x:.1} {TOP}V{bottom}");
        self.y.minor.iter().for_each(|&value| horizontal(self.at_y(value), &mut minor));
        self.x.minor.iter().for_each(|&value| vertical(self.at_x(value), &mut minor));
        self.y.major.iter().for_each(|&value| horizontal(self.at_y(value), &mut grid));
        self.x.major.iter().for_each(|&value| vertical(self.at_x(value), &mut grid));
        let _ = writeln!(body, "<path class=\"minor\" d=\"{minor}\"/>\n<path class=\"grid\" d=\"{grid}\"/>");
        for &value in &self.y.major {
            let (y, text) = (self.at_y(value) + 4.5, escape(&(chart.y.tick)(value)));
            let _ = writeln!(
                body,
                "<text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{y:.1}\">{text}</text>",
                LEFT - 8.0
            );
        }
        for &value in &self.x.major {
            let (x, text) = (self.at_x(value), escape(&(chart.x.tick)(value)));
            let y = bottom + 19.0;
            let _ = writeln!(body, "<text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y}\">{text}</text>");
        }
        let _ = writeln!(body, "<text class=\"axis\" x=\"16\" y=\"48\">{}</text>", escape(&chart.y.title));
        let (x, y, title) = (right, bottom + 39.0, escape(&chart.x.title));
        let _ = writeln!(body, "<text class=\"axis\" text-anchor=\"end\" x=\"{x}\" y=\"{y}\">{title}</text>");
    }

    fn curve(&self, curve: &Curve, body: &mut String) {
        let points: Vec<(f64, f64)> = curve.points.iter().map(|&(x, y)| (self.at_x(x), self.at_y(y))).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        }
        if curve.look == Look::Under {
            let bottom = TOP + PLOT_HEIGHT;
            let _ = write!(path, "L{:.1} {bottom}L{:.1} {bottom}Z", last.0, first.0);
        }
        let (class, name) = (curve.look.class(), escape(&curve.name));
        let _ = writeln!(body, "<path class=\"{class}\" d=\"{path}\"><title>{name}</title></path>");
        if let Look::Line { colour, has_marks: true } = curve.look {
            for (x, y) in points {
                let class = colour % COLOURS;
                let _ = writeln!(body, "<circle class=\"mark c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
            }
        }
    }
}

/// Text that stands for itself in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
