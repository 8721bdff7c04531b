//! Plain tables: columns as wide as their widest cell, two spaces between them, no lines.

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table of text.
///
/// # Examples
///
/// ```
/// use squall::observe::{Align, Table};
///
/// let mut table = Table::new(&[("word", Align::Left), ("count", Align::Right)]);
/// table.row(["the", "64,023"]);
/// table.row(["and", "51,313"]);
/// assert_eq!(table.to_string(), "word   count\nthe   64,023\nand   51,313\n");
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let (heads, aligns) = columns.iter().map(|&(head, align)| (head.to_owned(), align)).unzip();
        Table { aligns, rows: vec![heads] }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If the number of cells is not that of the columns.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Self {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.aligns.len(), "one cell per column");
        self.rows.push(cells);
        self
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width_of = |cell: &String| cell.chars().count();
        let width = |column: usize| self.rows.iter().map(|row| width_of(&row[column])).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.aligns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
