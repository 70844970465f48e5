//! Markdown tables that can also be read as text.

/// A table: column heads, then rows of a name and its cells, all columns but the first to the right.
pub(crate) fn table(head: Vec<String>, rows: Vec<(String, Vec<String>)>) -> String {
    let mut lines = vec![prepend(String::new(), head)];
    lines.extend(rows.into_iter().map(|(name, cells)| prepend(name, cells)));
    let columns = lines[0].len();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text += &if column == 0 {
                format!("| {cell:width$} ")
            } else {
                format!("| {cell:>width$} ")
            };
        }
        text += "|\n";
        if number == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text += &if column == 0 { format!("|{dashes}-") } else { format!("|{dashes}:") };
            }
            text += "|\n";
        }
    }
    text
}

/// A number with so many decimals and thousands apart; a dash for none.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_once('.').map_or((&*plain, ""), |parts| parts);
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text += fraction;
    }
    text
}

fn prepend(name: String, cells: Vec<String>) -> Vec<String> {
    std::iter::once(name).chain(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let text = table(vec!["a".into()], vec![("tokio".into(), vec!["1.00".into()])]);
        assert_eq!(text, "|       |    a |\n|-------|-----:|\n| tokio | 1.00 |\n");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(fixed(1_234_567.0, 0), "1,234,567");
        assert_eq!(fixed(999.5, 1), "999.5");
        assert_eq!(fixed(f64::NAN, 1), "–");
    }
}
