//! The checked-in results: tables between marks in `performance.md`, and charts beside it.

use std::fs;
use std::io;
use std::path::Path;

use super::Section;

/// Puts the findings into `folder/performance.md`, each between `<!-- figures: NAME -->` and
/// `<!-- end -->`, and writes those charts to `folder/charts` that the page shows.
pub(super) fn update(folder: &Path, facts: &str, sections: &[Section]) -> io::Result<()> {
    let page = folder.join("performance.md");
    let mut text = fs::read_to_string(&page)?;
    replace(&mut text, "machine", facts)?;
    for section in sections {
        replace(&mut text, section.name, &section.text)?;
    }
    fs::write(&page, &text)?;
    let charts = folder.join("charts");
    fs::create_dir_all(&charts)?;
    for (name, chart) in sections.iter().flat_map(|section| &section.charts) {
        if text.contains(&format!("charts/{name}")) {
            fs::write(charts.join(name), chart)?;
        }
    }
    Ok(())
}

fn replace(text: &mut String, name: &str, figures: &str) -> io::Result<()> {
    let begin = format!("<!-- figures: {name} -->\n");
    let missing = || io::Error::other(format!("performance.md has no place for `{name}`"));
    let start = text.find(&begin).ok_or_else(missing)? + begin.len();
    let length = text[start..].find(END).ok_or_else(missing)?;
    text.replace_range(start..start + length, &format!("\n{}\n\n", figures.trim()));
    Ok(())
}

const END: &str = "<!-- end -->";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_replaced_between_their_marks() -> io::Result<()> {
        let mut text = "a\n<!-- figures: x -->\nold\n<!-- end -->\nb\n".to_owned();
        replace(&mut text, "x", "new\n")?;
        replace(&mut text, "x", "newer")?;
        assert_eq!(text, "a\n<!-- figures: x -->\n\nnewer\n\n<!-- end -->\nb\n");
        assert!(replace(&mut text, "y", "").is_err());
        Ok(())
    }
}
