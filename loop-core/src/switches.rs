//! The words with which an environment variable sets a driver's switches:
//! `ANYLOOP_MIO=portable-wait,events=2`.

use std::env;
use std::fmt::Write as _;

/// What a word sets.
#[derive(Debug)]
pub enum Switch<'a> {
    /// `word` sets it.
    On(&'a mut bool),
    /// `word` clears it.
    Off(&'a mut bool),
    /// `word=N` with N at least 1.
    Count(&'a mut usize),
}

/// Reads comma-separated words and sets what they name. Spaces around a word and empty words do not
/// matter.
///
/// # Errors
/// In words: an unknown word (with the known ones), or a number that is none.
pub fn apply(words: &str, known: &mut [(&str, Switch<'_>)]) -> Result<(), String> {
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (name, number) = match word.split_once('=') {
            Some((name, number)) => (name.trim_end(), Some(number.trim_start())),
            None => (word, None),
        };
        let switch = known.iter_mut().find(|(known, _)| *known == name).map(|(_, switch)| switch);
        match (switch, number) {
            (Some(Switch::On(flag)), None) => **flag = true,
            (Some(Switch::Off(flag)), None) => **flag = false,
            (Some(Switch::Count(count)), Some(number)) => match number.parse() {
                Ok(number @ 1..) => **count = number,
                _ => return Err(format!("\"{word}\": not a whole number above zero")),
            },
            _ => return Err(format!("unknown word \"{word}\"; known are: {}", list(known))),
        }
    }
    Ok(())
}

/// Parses the environment variable `name`, or the empty string if it is not set.
///
/// # Errors
/// Those of `parse`, preceded by the name of the variable; a value that is not Unicode.
pub fn from_env<T>(name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    let words = match env::var(name) {
        Ok(words) => words,
        Err(env::VarError::NotPresent) => String::new(),
        Err(e @ env::VarError::NotUnicode(_)) => return Err(format!("{name}: {e}")),
    };
    parse(&words).map_err(|e| format!("{name}: {e}"))
}

fn list(known: &[(&str, Switch<'_>)]) -> String {
    let mut list = String::new();
    for (name, switch) in known {
        let comma = if list.is_empty() { "" } else { ", " };
        let number = if matches!(switch, Switch::Count(_)) { "=N" } else { "" };
        let _ = write!(list, "{comma}{name}{number}");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<(bool, bool, usize), String> {
        let (mut on, mut off, mut count) = (false, true, 9);
        apply(
            words,
            &mut [
                ("on", Switch::On(&mut on)),
                ("no-off", Switch::Off(&mut off)),
                ("count", Switch::Count(&mut count)),
            ],
        )?;
        Ok((on, off, count))
    }

    #[test]
    fn words_set_what_they_name() {
        assert_eq!(parse(""), Ok((false, true, 9)));
        assert_eq!(parse(" on ,, no-off,count = 3"), Ok((true, false, 3)));
    }

    #[test]
    fn bad_words_are_refused_with_the_known_ones() {
        for word in ["On", "off", "count", "on=1", "="] {
            let expected = format!("unknown word \"{word}\"; known are: on, no-off, count=N");
            assert_eq!(parse(word), Err(expected));
        }
        for word in ["count=0", "count=-1", "count=", "count=x"] {
            assert_eq!(parse(word), Err(format!("\"{word}\": not a whole number above zero")));
        }
    }
}
