//! The words with which an environment variable sets a driver's switches:
//! `ANYLOOP_MIO=portable-wait,events=2`.

use std::env;
use std::fmt;

/// What a word does to a configuration.
#[derive(Clone, Copy, Debug)]
pub enum Word<C> {
    /// `word`
    Flag(fn(C) -> C),
    /// `word=N`
    Number(fn(C, u32) -> C),
}

/// Changes `config` by the words in `value`, separated by commas or spaces.
///
/// # Errors
/// The first word that is not `known`, or whose number is none. `variable` is for its text.
pub fn apply<C>(
    mut config: C,
    variable: &'static str,
    value: &str,
    known: &[(&'static str, Word<C>)],
) -> Result<C, ConfigError> {
    for text in value.split([',', ' ']).filter(|text| !text.is_empty()) {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let word = known.iter().find(|(known, _)| *known == name).map(|(_, word)| word);
        config = match (word, number.map(str::parse)) {
            (Some(Word::Flag(set)), None) => set(config),
            (Some(Word::Number(set)), Some(Ok(number))) => set(config, number),
            _ => return Err(ConfigError { variable, word: text.to_owned(), known: names(known) }),
        };
    }
    Ok(config)
}

/// Changes `config` by the words in the environment variable `variable`, if it is set.
///
/// # Errors
/// As [`apply`].
pub fn apply_env<C>(
    config: C,
    variable: &'static str,
    known: &[(&'static str, Word<C>)],
) -> Result<C, ConfigError> {
    match env::var_os(variable) {
        Some(value) => apply(config, variable, &value.to_string_lossy(), known),
        None => Ok(config),
    }
}

fn names<C>(known: &[(&str, Word<C>)]) -> String {
    let name = |(name, word): &(&str, Word<C>)| match word {
        Word::Flag(_) => (*name).to_owned(),
        Word::Number(_) => format!("{name}=N"),
    };
    known.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A word in an environment variable that means nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    variable: &'static str,
    word: String,
    known: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` is not known; known are {}", self.variable, self.word, self.known)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Word<(bool, u32)>)] =
        &[("on", Word::Flag(|(_, n)| (true, n))), ("size", Word::Number(|(on, _), n| (on, n)))];

    fn parse(value: &str) -> Result<(bool, u32), String> {
        apply((false, 9), "VAR", value, KNOWN).map_err(|e| e.to_string())
    }

    #[test]
    fn words_change_what_they_name() {
        assert_eq!(parse(""), Ok((false, 9)));
        assert_eq!(parse(" on,,size=3 "), Ok((true, 3)));
        assert_eq!(parse("size=1 size=2"), Ok((false, 2)));
    }

    #[test]
    fn a_word_that_is_not_known_is_named_beside_the_known_ones() {
        for bad in ["On", "off", "size", "on=1", "=", "size=-1", "size=", "size=x"] {
            let expected = format!("VAR: `{bad}` is not known; known are on, size=N");
            assert_eq!(parse(bad), Err(expected));
        }
    }
}
