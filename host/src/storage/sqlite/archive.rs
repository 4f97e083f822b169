//! Reading archives.
//!
//! Entries are ordered by the pair (time, id), and every filter of a query becomes one half-open range of that pair.
//! So a page is a seek into an index and a walk from there, however deep in the archive it starts. (SQLite seeks by the
//! time and filters by the id: only entries of one and the same microsecond are walked over twice.)

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::storage::{ArchiveId, ArchivePage, ArchiveQuery, Entry, Space, StorageError, Timestamp, Total};

/// A page ends early when its values exceed this, but never before its first entry.
const PAGE_BYTES: usize = 4 << 20;
/// Counting stops here: a bigger archive is told as "more than".
const COUNT_ROWS: i64 = 100_000;

/// A place in the order of an archive.
type Place = (i64, i64);

const EVERYWHERE: (Place, Place) = ((i64::MIN, i64::MIN), (i64::MAX, i64::MAX));

/// One entry, if this owner has it.
pub(super) fn get(
    connection: &Connection,
    space: &Space,
    owner: &str,
    id: ArchiveId,
) -> Result<Option<Entry>, StorageError> {
    const SQL: &str =
        "SELECT id, nonce, at, peer, value FROM archive WHERE id = ?3 AND nonce = ?4 AND owner = ?5
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
    let names = params![space.vhost(), space.owner(), id.stamp, id.nonce, owner];
    Ok(connection.prepare_cached(SQL)?.query_row(names, entry).optional()?)
}

/// A page, seen at one moment: ids, entries and total fit together.
pub(super) fn query(
    connection: &Connection,
    space: &Space,
    query: &ArchiveQuery,
) -> Result<ArchivePage, StorageError> {
    let moment = connection.unchecked_transaction()?;
    let range = range(&moment, space, query)?;
    let (entries, complete) = entries(&moment, space, query, range)?;
    let total = if query.count { Some(total(&moment, space, query)?) } else { None };
    Ok(ArchivePage { entries, complete, total })
}

/// The range that times and ids leave; both ends are excluded.
fn range(
    connection: &Connection,
    space: &Space,
    query: &ArchiveQuery,
) -> Result<(Place, Place), StorageError> {
    let (mut low, mut high) = EVERYWHERE;
    if let Some(start) = query.start {
        // Ids are positive, so this place is before every entry of that time.
        low = (start.0, 0);
    }
    if let Some(end) = query.end {
        high = (end.0, i64::MAX);
    }
    for (id, is_low) in [(query.after, true), (query.before, false)] {
        let Some(id) = id else { continue };
        let Some(place) = place(connection, space, &query.owner, id)? else {
            return Err(StorageError::NoSuchEntry { space: space.clone(), id });
        };
        if is_low {
            low = low.max(place);
        } else {
            high = high.min(place);
        }
    }
    Ok((low, high))
}

fn place(
    connection: &Connection,
    space: &Space,
    owner: &str,
    id: ArchiveId,
) -> rusqlite::Result<Option<Place>> {
    const SQL: &str = "SELECT at, id FROM archive WHERE id = ?3 AND nonce = ?4 AND owner = ?5
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
    let names = params![space.vhost(), space.owner(), id.stamp, id.nonce, owner];
    connection.prepare_cached(SQL)?.query_row(names, |row| row.try_into()).optional()
}

/// The statements differ in the peer filter and the direction only; one text per case keeps each on its index.
macro_rules! select {
    ($peer:literal, $direction:literal) => {
        concat!(
            "SELECT id, nonce, at, peer, value FROM archive
             WHERE space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) AND owner = ?3 ",
            $peer,
            " AND (at, id) > (?5, ?6) AND (at, id) < (?7, ?8) ORDER BY at ",
            $direction,
            ", id ",
            $direction,
            " LIMIT ?9"
        )
    };
}

fn select(with: bool, reverse: bool) -> &'static str {
    match (with, reverse) {
        (false, false) => select!("AND ?4 IS NULL", "ASC"),
        (false, true) => select!("AND ?4 IS NULL", "DESC"),
        (true, false) => select!("AND peer = ?4", "ASC"),
        (true, true) => select!("AND peer = ?4", "DESC"),
    }
}

fn entries(
    connection: &Connection,
    space: &Space,
    query: &ArchiveQuery,
    (low, high): (Place, Place),
) -> rusqlite::Result<(Vec<Entry>, bool)> {
    let mut statement: CachedStatement<'_> =
        connection.prepare_cached(select(query.with.is_some(), query.reverse))?;
    let mut rows = statement.query(params![
        space.vhost(),
        space.owner(),
        query.owner,
        query.with,
        low.0,
        low.1,
        high.0,
        high.1,
        i64::from(query.limit) + 1
    ])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        bytes += entry.value.len();
        let full = found.len() == query.limit as usize || (!found.is_empty() && bytes > PAGE_BYTES);
        if full {
            return Ok((found, false));
        }
        found.push(entry);
    }
    Ok((found, true))
}

/// Counts what matches owner, peer and times, up to a bound.
fn total(connection: &Connection, space: &Space, query: &ArchiveQuery) -> rusqlite::Result<Total> {
    const OF_ALL: &str = "SELECT count(*) FROM (SELECT 1 FROM archive
        WHERE space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) AND owner = ?3 AND ?4 IS NULL
        AND at BETWEEN ?5 AND ?6 LIMIT ?7)";
    const OF_PEER: &str = "SELECT count(*) FROM (SELECT 1 FROM archive
        WHERE space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) AND owner = ?3 AND peer = ?4
        AND at BETWEEN ?5 AND ?6 LIMIT ?7)";
    let sql = if query.with.is_some() { OF_PEER } else { OF_ALL };
    let start = query.start.map_or(i64::MIN, |at| at.0);
    let end = query.end.map_or(i64::MAX, |at| at.0);
    let values = params![space.vhost(), space.owner(), query.owner, query.with, start, end, COUNT_ROWS + 1];
    let rows: i64 = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    Ok(Total { rows: rows.min(COUNT_ROWS).unsigned_abs(), more: rows > COUNT_ROWS })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: ArchiveId { stamp: row.get(0)?, nonce: row.get(1)? },
        at: Timestamp(row.get(2)?),
        with: row.get(3)?,
        value: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::schema::{Location, open_writer};
    use super::super::{Options, apply::Applier};
    use super::*;
    use crate::storage::{NewEntry, Write};

    fn connection(name: &str) -> Connection {
        open_writer(&Location::Memory(name.into()), &Options::default()).unwrap()
    }

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>(3).unwrap();
            plan += "\n";
        }
        plan
    }

    #[test]
    fn every_page_is_one_seek_into_an_index_without_sorting() {
        let connection = connection("/plans");
        for (with, index) in [
            (false, "archive_by_owner (space=? AND owner=? AND "),
            (true, "archive_by_peer (space=? AND owner=? AND peer=? AND "),
        ] {
            for reverse in [false, true] {
                let plan = plan(&connection, select(with, reverse));
                assert!(plan.contains(index), "{plan}");
                assert!(plan.contains("at>? AND at<?)"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN"), "{plan}");
            }
        }
    }

    #[test]
    fn counting_stops_at_its_bound() {
        let mut connection = connection("/counts");
        let mut applier = Applier::open(&connection).unwrap();
        let space = Space::module("a", "m");
        let entry = NewEntry { at: Some(Timestamp(1)), with: Some("bob".into()), value: vec![], id: None };
        let append = Write::ArchiveAppend { space: space.clone(), owner: "alice".into(), entry };
        let transaction = connection.transaction().unwrap();
        for _ in 0..COUNT_ROWS + 1 {
            applier.apply(&transaction, std::slice::from_ref(&append)).unwrap();
        }
        transaction.commit().unwrap();
        for with in [None, Some("bob".into())] {
            let query = ArchiveQuery { with, ..ArchiveQuery::of("alice", 0) };
            let total = total(&connection, &space, &query).unwrap();
            assert_eq!(total, Total { rows: COUNT_ROWS.unsigned_abs(), more: true });
        }
    }
}
