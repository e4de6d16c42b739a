//! URLs of PostgreSQL: the same server with another database, the same database at another address.

/// The URL of another database of the same server.
pub(super) fn at_database(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, q)| (base, Some(q)));
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let server = match base[after_scheme..].find('/') {
        Some(slash) => &base[..after_scheme + slash],
        None => base,
    };
    query.map_or_else(
        || format!("{server}/{database}"),
        |query| format!("{server}/{database}?{query}"),
    )
}

/// The URL before, at and after `HOST:PORT`.
pub(super) fn server_of(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&url[..start], &url[start..end], &url[end..])
}

/// The URL of the same database, reached at another address.
pub(super) fn at_server(url: &str, server: &str) -> String {
    let (before, _, after) = server_of(url);
    format!("{before}{server}{after}")
}

#[cfg(test)]
mod tests {
    use super::{at_database, at_server, server_of};

    #[test]
    fn another_database_of_the_same_server() {
        let check = |url, expected| assert_eq!(at_database(url, "d"), expected);
        check("postgres://u:p@h:1/postgres", "postgres://u:p@h:1/d");
        check("postgres://u@h:1", "postgres://u@h:1/d");
        check("postgres:///postgres?host=/run/x", "postgres:///d?host=/run/x");
        assert_eq!(server_of("postgres://u:p@h:1/d?x=@").1, "h:1");
        assert_eq!(at_server("postgres://u:p@h:1/d?x=y", "l:2"), "postgres://u:p@l:2/d?x=y");
        assert_eq!(at_server("postgres://h:1", "l:2"), "postgres://l:2");
    }
}
