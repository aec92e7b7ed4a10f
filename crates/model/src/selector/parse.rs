//! The string grammar: a lexer and a recursive descent without recursion.

use std::collections::BTreeSet;

use super::{Operator, Requirement, SelectorError};
use crate::{
    labels::{validate_key, validate_value},
    quote::shorten,
};

/// One part of the text between top-level commas.
pub(super) enum Clause {
    /// A requirement as stored.
    Is(Requirement),
    /// `key!=value`, to be merged with its like.
    NotEquals {
        /// The checked key.
        key: String,
        /// The checked value.
        value: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Equals,
    NotEquals,
    Not,
    Open,
    Close,
    Comma,
    /// `<` and `>`: known to Kubernetes, not to label selectors.
    Compare(char),
    End,
}

/// Reads the clauses of a selector text.
pub(super) fn clauses(text: &str) -> Result<Vec<Clause>, SelectorError> {
    let mut parser = Parser { text, rest: text };
    let mut clauses = Vec::new();
    if parser.peek() == Token::End {
        return Ok(clauses);
    }
    loop {
        clauses.push(parser.clause()?);
        match parser.next() {
            Token::Comma => {}
            Token::End => return Ok(clauses),
            other => return Err(parser.error(other, "`,` or the end")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn clause(&mut self) -> Result<Clause, SelectorError> {
        match self.next() {
            Token::Not => {
                let key = self.key()?;
                Requirement::new(key, Operator::DoesNotExist, []).map(Clause::Is)
            }
            Token::Word(key) => self.after_key(key),
            other => Err(self.error(other, "a label key or `!`")),
        }
    }

    fn key(&mut self) -> Result<&'a str, SelectorError> {
        match self.next() {
            Token::Word(key) => Ok(key),
            other => Err(self.error(other, "a label key")),
        }
    }

    fn after_key(&mut self, key: &str) -> Result<Clause, SelectorError> {
        if matches!(self.peek(), Token::Comma | Token::End) {
            return Requirement::new(key, Operator::Exists, []).map(Clause::Is);
        }
        match self.next() {
            Token::Equals => {
                let value = self.value()?.to_owned();
                Requirement::new(key, Operator::Equals, [value]).map(Clause::Is)
            }
            Token::NotEquals => {
                let value = self.value()?;
                validate_key(key)?;
                validate_value(value)?;
                Ok(Clause::NotEquals { key: key.to_owned(), value: value.to_owned() })
            }
            Token::Word("in") => self.set(key, Operator::In),
            Token::Word("notin") => self.set(key, Operator::NotIn),
            other => Err(self.error(other, "`=`, `!=`, `in`, `notin`, `,` or the end")),
        }
    }

    /// The value of an equality; none at all is the empty value.
    fn value(&mut self) -> Result<&'a str, SelectorError> {
        if matches!(self.peek(), Token::Comma | Token::End) {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other => Err(self.error(other, "a label value")),
        }
    }

    /// `(a,b)`; a missing value beside a comma is the empty value, `()` is an error.
    fn set(&mut self, key: &str, operator: Operator) -> Result<Clause, SelectorError> {
        match self.next() {
            Token::Open => {}
            other => return Err(self.error(other, "`(`")),
        }
        let mut values = BTreeSet::new();
        if self.peek() == Token::Close {
            self.next();
            return Requirement::new(key, operator, values).map(Clause::Is);
        }
        loop {
            if matches!(self.peek(), Token::Comma | Token::Close) {
                values.insert(String::new());
            } else {
                match self.next() {
                    Token::Word(value) => values.insert(value.to_owned()),
                    other => return Err(self.error(other, "a label value, `,` or `)`")),
                };
            }
            match self.next() {
                Token::Comma => {}
                Token::Close => return Requirement::new(key, operator, values).map(Clause::Is),
                other => return Err(self.error(other, "`,` or `)`")),
            }
        }
    }

    fn peek(&self) -> Token<'a> {
        lex(self.rest).0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = lex(self.rest);
        self.rest = rest;
        token
    }

    fn error(&self, found: Token<'_>, expected: &'static str) -> SelectorError {
        let found = match found {
            Token::Word(word) => format!("`{}`", shorten(word)),
            Token::Equals => "`=`".to_owned(),
            Token::NotEquals => "`!=`".to_owned(),
            Token::Not => "`!`".to_owned(),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
            Token::Compare(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        SelectorError::Syntax { selector: shorten(self.text), found, expected }
    }
}

/// Splits the first token off.
fn lex(text: &str) -> (Token<'_>, &str) {
    let text = text.trim_start_matches(is_space);
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return (Token::End, "");
    };
    let rest = chars.as_str();
    match first {
        '=' => (Token::Equals, rest.strip_prefix('=').unwrap_or(rest)),
        '!' => rest.strip_prefix('=').map_or((Token::Not, rest), |rest| (Token::NotEquals, rest)),
        '(' => (Token::Open, rest),
        ')' => (Token::Close, rest),
        ',' => (Token::Comma, rest),
        '<' | '>' => (Token::Compare(first), rest),
        _ => {
            let ends = |c: char| is_space(c) || matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>');
            let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
            (Token::Word(word), rest)
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
