//! Tables for people: no lines, columns that line up.

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;

/// An empty table with these heads, of which those of `right` stand over numbers.
pub(crate) fn table(heads: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for &at in right {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A time to the minute, in UTC as everywhere here; `?` for one that is in no calendar.
pub(crate) fn time(time: impl TryInto<Timestamp>) -> String {
    let time = time.try_into().ok();
    time.map_or_else(|| "?".to_owned(), |time| time.strftime("%F %R").to_string())
}
