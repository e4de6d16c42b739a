//! The user's statement, taken apart just so far that it can be put into ours.
//!
//! It becomes `with fresh as (…) statement`, or, where it has a `with` of its own, `fresh` becomes its
//! first part. What is looked at are its outlines: one statement, parentheses that match, no
//! parameters, a verb that changes rows. Whether it is right SQL is for the database to say, which is
//! asked before it is put anywhere.

/// Whose SQL it is: they differ in how texts and parameters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// One statement that changes rows.
#[derive(Clone, Debug)]
pub struct Statement {
    text: String,
    /// Where what follows `with` or `with recursive` begins, in bytes; 0 without it.
    body: usize,
    recursive: bool,
}

const CHANGES: [&str; 5] = ["insert", "update", "delete", "replace", "merge"];
const OTHERS: [&str; 3] = ["select", "values", "table"];

impl Statement {
    /// Takes a text apart; what is wrong with it otherwise.
    pub fn of(sql: &str, dialect: Dialect) -> Result<Self, String> {
        let mut words = Outline::of(sql, dialect)?;
        let text = sql[..words.end.unwrap_or(sql.len())].trim_end();
        if !words.mentions_fresh {
            return Err("the statement does not read `fresh`, the events of the batch".to_owned());
        }
        let mut outer = words.outer.drain(..);
        let (first, after_first) = outer.next().unwrap_or_default();
        if CHANGES.contains(&first.as_str()) {
            return Ok(Self { text: text.to_owned(), body: 0, recursive: false });
        }
        let refused = |verb: &str| {
            format!(
                "an insert, update or delete is needed, this is `{}`",
                verb.to_ascii_lowercase()
            )
        };
        if first != "with" {
            return Err(refused(&first));
        }
        let mut rest: Vec<_> = outer.collect();
        let recursive = rest.first().is_some_and(|(word, _)| word == "recursive");
        let body = if recursive { rest.remove(0).1 } else { after_first };
        let is_verb = |word: &str| CHANGES.contains(&word) || OTHERS.contains(&word);
        match rest.iter().find(|(word, _)| is_verb(word)) {
            Some((verb, _)) if CHANGES.contains(&verb.as_str()) => {
                Ok(Self { text: text.to_owned(), body, recursive })
            }
            Some((verb, _)) => Err(refused(verb)),
            None => Err(refused("with")),
        }
    }

    /// The statement with `fresh` made by a query.
    pub fn over(&self, fresh: &str) -> String {
        format!("{}{}", self.head(fresh), &self.text[self.body..])
    }

    /// On which line of the text as it was typed a position of [`Self::over`] is, from 1; `None` in
    /// what was put before it. The position counts characters from 1, as PostgreSQL does.
    pub fn line(&self, fresh: &str, position: usize) -> Option<usize> {
        let at = position.checked_sub(self.head(fresh).chars().count() + 1)?;
        let typed = self.text[..self.body].chars().count() + at;
        Some(self.text.chars().take(typed).filter(|c| *c == '\n').count() + 1)
    }

    fn head(&self, fresh: &str) -> String {
        let recursive = if self.recursive { "recursive " } else { "" };
        let end = if self.body > 0 { ",\n" } else { "\n" };
        format!("with {recursive}fresh as (\n{fresh}\n){end}")
    }
}

/// What stands outside of texts, names and comments.
#[derive(Debug, Default)]
struct Outline {
    /// The words outside of parentheses in lower case, with where each ends.
    outer: Vec<(String, usize)>,
    mentions_fresh: bool,
    /// Where a semicolon ends it.
    end: Option<usize>,
}

impl Outline {
    fn of(text: &str, dialect: Dialect) -> Result<Self, String> {
        let postgres = dialect == Dialect::Postgres;
        let (mut outline, mut depth, mut at) = (Self::default(), 0_u32, 0);
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let next = rest[c.len_utf8()..].chars().next();
            let comment = matches!((c, next), ('-', Some('-')) | ('/', Some('*')));
            if outline.end.is_some() && !comment && c != ';' && !c.is_whitespace() {
                return Err("one statement is needed, there are several".to_owned());
            }
            at += match c {
                '-' if next == Some('-') => rest.find('\n').unwrap_or(rest.len()),
                '/' if next == Some('*') => closed(rest, 2, "*/", "a comment")?,
                '\'' => closed(rest, 1, "'", "a text")?,
                '"' => closed(rest, 1, "\"", "a name")?,
                '`' if !postgres => closed(rest, 1, "`", "a name")?,
                '[' if !postgres => closed(rest, 1, "]", "a name")?,
                '$' if postgres && next.is_none_or(|c| !c.is_ascii_digit()) => dollar(rest)?,
                '$' => return Err(parameter(rest)),
                '?' | ':' | '@' if !postgres => return Err(parameter(rest)),
                ';' => {
                    outline.end.get_or_insert(at);
                    1
                }
                '(' => {
                    depth += 1;
                    1
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("a parenthesis closes that none opened")?;
                    1
                }
                c if c.is_alphabetic() || c == '_' => {
                    let in_word = |c: char| c.is_alphanumeric() || c == '_';
                    let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
                    let word = rest[..length].to_lowercase();
                    if postgres && word == "e" && rest[length..].starts_with('\'') {
                        return Err("texts with backslashes (E'…') are not taken here".to_owned());
                    }
                    outline.mentions_fresh |= word == "fresh";
                    if depth == 0 {
                        outline.outer.push((word, at + length));
                    }
                    length
                }
                c => c.len_utf8(),
            };
        }
        if depth > 0 {
            return Err("a parenthesis is not closed".to_owned());
        }
        Ok(outline)
    }
}

/// How long what opens here is; a doubled quote is two texts side by side, which is as good.
fn closed(rest: &str, opening: usize, end: &str, what: &str) -> Result<usize, String> {
    let length = rest[opening..].find(end).ok_or_else(|| format!("{what} is not closed"))?;
    Ok(opening + length + end.len())
}

/// `$tag$ … $tag$`.
fn dollar(rest: &str) -> Result<usize, String> {
    let tag = rest[1..].find('$').map(|end| &rest[..end + 2]);
    let tag =
        tag.filter(|tag| tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_'));
    match tag {
        Some(tag) => closed(rest, tag.len(), tag, "a text"),
        None => Ok(1),
    }
}

fn parameter(rest: &str) -> String {
    let length = rest[1..].find(|c: char| !c.is_alphanumeric()).map_or(rest.len(), |end| end + 1);
    format!("parameters are not taken: `{}`", &rest[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(sql: &str, dialect: Dialect) -> Result<String, String> {
        Statement::of(sql, dialect).map(|statement| statement.over("FRESH"))
    }

    #[test]
    fn fresh_comes_first_whatever_the_statement_begins_with() {
        let check = |sql: &str, expected: &str| {
            assert_eq!(over(sql, Dialect::Postgres).as_deref(), Ok(expected), "{sql}");
        };
        check(
            "insert into t select 1 from fresh ; ",
            "with fresh as (\nFRESH\n)\ninsert into t select 1 from fresh",
        );
        check(
            "-- with\nWITH a as (select 1 from fresh) insert into t select * from a",
            "with fresh as (\nFRESH\n),\n a as (select 1 from fresh) insert into t select * from a",
        );
        check(
            "with /* x */ recursive a(n) as (select 1 from fresh) update t set n = 1",
            "with recursive fresh as (\nFRESH\n),\n a(n) as (select 1 from fresh) update t set n = 1",
        );
        check(
            "insert into t select 1 from fresh; -- done; really\n;/* ; */ ",
            "with fresh as (\nFRESH\n)\ninsert into t select 1 from fresh",
        );
        check(
            "insert into t select ';)', $a$;$b$)$a$, \";\", x ? 'y' from fresh -- ;",
            "with fresh as (\nFRESH\n)\ninsert into t select ';)', $a$;$b$)$a$, \";\", x ? 'y' from fresh -- ;",
        );
    }

    #[test]
    fn what_is_not_one_statement_that_changes_rows_is_refused() {
        let check = |sql: &str, dialect: Dialect, expected: &str| {
            let refused = over(sql, dialect).expect_err(sql);
            assert!(refused.contains(expected), "{sql}: {refused}");
        };
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            check("", dialect, "does not read `fresh`");
            check("insert into t select 1", dialect, "does not read `fresh`");
            check("insert into t select 'fresh'", dialect, "does not read `fresh`");
            check("select * from fresh", dialect, "this is `select`");
            check("with a as (insert into t values (1)) select * from fresh", dialect, "`select`");
            check("truncate fresh", dialect, "this is `truncate`");
            check("insert into t select 1 from fresh; drop table t", dialect, "several");
            check("insert into t select 1 from fresh) , b as (select 1", dialect, "none opened");
            check("insert into t select (1 from fresh", dialect, "is not closed");
            check("insert into t select 'a from fresh", dialect, "a text is not closed");
            check("insert into t select 1 from fresh /* ", dialect, "a comment is not closed");
            check("insert into t select $1 from fresh", dialect, "parameters are not taken: `$1`");
        }
        check("insert into t select ?1 from fresh", Dialect::Sqlite, "`?1`");
        check("insert into t select :a from fresh", Dialect::Sqlite, "`:a`");
        check("insert into t select E'\\'' from fresh", Dialect::Postgres, "backslashes");
        check("insert into t select $a$ from fresh", Dialect::Postgres, "a text is not closed");
    }

    #[test]
    fn positions_are_lines_of_what_was_typed() {
        let sql = "with\n a as (select 1 from fresh)\ninsert into t\nselect x from a";
        let statement = Statement::of(sql, Dialect::Postgres).expect("a statement");
        let over = statement.over("F");
        let position = |part: &str| over.find(part).expect("it is there") + 1;
        assert_eq!(statement.line("F", position("select 1")), Some(2));
        assert_eq!(statement.line("F", position("select x")), Some(4));
        assert_eq!(statement.line("F", 3), None);
    }
}
