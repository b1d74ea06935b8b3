//! Figures as a plan prints them.

use std::time::Duration;

/// `4.00 Mbit/s`, `410 kbit/s`.
pub(crate) fn speed(bits_per_second: f64) -> String {
    if bits_per_second >= 1e9 {
        format!("{:.2} Gbit/s", bits_per_second / 1e9)
    } else if bits_per_second >= 1e6 {
        format!("{:.2} Mbit/s", bits_per_second / 1e6)
    } else if bits_per_second >= 1e4 {
        format!("{:.0} kbit/s", bits_per_second / 1e3)
    } else {
        format!("{:.1} kbit/s", bits_per_second / 1e3)
    }
}

/// `10.56 MB`, `256.0 kB`.
pub(crate) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 {
        format!("{:.2} GB", bytes / 1e9)
    } else if bytes >= 1e6 {
        format!("{:.2} MB", bytes / 1e6)
    } else {
        format!("{:.1} kB", bytes / 1e3)
    }
}

/// `428 ms`, `2.19 s`.
pub(crate) fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds >= 1e3 { format!("{:.2} s", milliseconds / 1e3) } else { format!("{milliseconds:.0} ms") }
}

/// Gigabytes without the unit, for columns.
pub(crate) fn gigabytes(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 100.0 { format!("{gigabytes:.1}") } else { format!("{gigabytes:.0}") }
}

/// Three digits, as far as they tell something.
pub(crate) fn digits(value: f64) -> String {
    match value {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small if small >= 1.0 => format!("{small:.2}"),
        tiny => format!("{tiny:.3}"),
    }
}

/// An accuracy in percent; never `100.0 %`, which no attacker reaches.
pub(crate) fn accuracy(accuracy: f64) -> String {
    if accuracy > 0.9995 { "> 99.9 %".to_owned() } else { format!("{:.1} %", 100.0 * accuracy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_digits_as_they_need() {
        assert_eq!([speed(4e6), speed(409_600.0), speed(2e9)], ["4.00 Mbit/s", "410 kbit/s", "2.00 Gbit/s"]);
        assert_eq!([size(10_561_698), size(256_000), size(5_000_000_000)], ["10.56 MB", "256.0 kB", "5.00 GB"]);
        assert_eq!([time(Duration::from_micros(428_300)), time(Duration::from_millis(2_190))], ["428 ms", "2.19 s"]);
        assert_eq!([digits(0.2367), digits(1.4547), digits(39.09), digits(1_120.7)], ["0.237", "1.45", "39.1", "1121"]);
        assert_eq!([accuracy(0.5665), accuracy(1.0)], ["56.6 %", "> 99.9 %"]);
        assert_eq!([gigabytes(91_600_000_000), gigabytes(7_008_000_000_000)], ["91.6", "7008"]);
    }
}
