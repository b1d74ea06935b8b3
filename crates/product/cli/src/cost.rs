//! What a rate costs: packets and gigabytes.

use admin::render::gigabytes;
use shaping::{CellRate, RateClass, SlotLength};
use std::fmt::Write;
use wire::packet::PacketSize;

/// Rates that `init` offers, from a metered line to a home with several people.
pub(crate) const OFFERED: [&str; 4] = ["256 kbit/s", "2 Mbit/s", "10 Mbit/s", "50 Mbit/s"];

/// `10 Mbit/s` as the cells and gigabytes of one direction.
pub(crate) fn describe(class: RateClass, slot: SlotLength, size: PacketSize) -> String {
    let cells = CellRate::new(class, slot, size.session_packet()).cells_per_second();
    let month = gigabytes(class.wire_bytes_per_month(size.session_packet(), size.packet()));
    format!("{class} = {cells} packets/s of {} bytes = {month} a month", size.packet())
}

/// The table that helps to choose a rate.
pub(crate) fn table() -> String {
    let mut text = String::from("  rate         class         packets/s   a month, each way   both ways\n");
    let size = PacketSize::DEFAULT;
    for offered in OFFERED {
        let Ok(class) = config::parse_rate(offered) else { continue };
        let cells = CellRate::new(class, SlotLength::DEFAULT, size.session_packet()).cells_per_second();
        let month = class.wire_bytes_per_month(size.session_packet(), size.packet());
        let (one, both) = (gigabytes(month), gigabytes(2 * month));
        let class = class.to_string();
        let _ = writeln!(text, "  {offered:<13}{class:<14}{cells:>9}   {one:>17}   {both:>9}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_offered_rate_is_priced() {
        insta::assert_snapshot!(super::table());
    }
}
