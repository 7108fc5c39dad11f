//! Aligned columns, and numbers a person can read.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, a column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    align: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(heading: [(&str, Align); N]) -> Self {
        Table { align: heading.map(|(_, a)| a), rows: vec![heading.map(|(name, _)| name.to_owned())] }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> std::fmt::Display for Table<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| self.rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(self.align).zip(widths) {
                line += &match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `11,689,512`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `11.7 M`: three digits and a decimal unit.
pub(crate) fn short(n: u64) -> String {
    let n = n as f64;
    [("G", 1e9), ("M", 1e6), ("k", 1e3)]
        .into_iter()
        .find(|&(_, unit)| n >= unit)
        .map_or_else(|| n.to_string(), |(name, unit)| format!("{:.1} {name}", n / unit))
}

/// `93.2 %` of a share between 0 and 1.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("layer", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "10".into()]);
        table.row(["longer".into(), "5".into()]);
        assert_eq!(table.to_string(), "layer    n\na       10\nlonger   5\n");
    }

    #[test]
    fn numbers_are_grouped_and_shortened() {
        assert_eq!([thousands(0), thousands(999), thousands(11_689_512)], ["0", "999", "11,689,512"]);
        assert_eq!([short(12), short(1500), short(4_652_008)], ["12", "1.5 k", "4.7 M"]);
        assert_eq!(percent(0.9323), "93.2 %");
    }
}
