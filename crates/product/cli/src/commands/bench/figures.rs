//! What was measured, as a table and as JSON.

use crate::args::ModeArg;
use crate::failure::{Code, Failure};
use admin::render::binary;
use admin::status::{Mode, Status};
use shaping::RateClass;
use std::fmt::Write;
use std::time::Duration;

/// One process of the pair.
#[derive(Debug, Clone)]
pub(super) struct ProcessFigures {
    pub(super) name: String,
    pub(super) pid: u32,
}

/// Round trips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echo {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Echo {
    /// `sorted`: at least one round trip, ascending.
    pub(super) fn new(sorted: &[Duration]) -> Self {
        let at = |per_cent: usize| {
            let index = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self { p50_us: at(50), p99_us: at(99) }
    }
}

/// One bulk measurement.
#[derive(Debug, Clone)]
pub(super) struct Bulk {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// Processor seconds of each process in that time.
    pub(super) cpu_s: Vec<Option<f64>>,
    /// What the schedule carried; `None` without a schedule.
    pub(super) cells: Option<Cells>,
}

/// What a schedule carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cells {
    /// Cells with data, of all.
    pub(super) full_per_cent: f64,
    /// Slots whose cells were late, and slots that were missed, of all slots: what a busy machine takes.
    pub(super) late_per_cent: f64,
}

impl Cells {
    /// `None` if the node sent no cells on a schedule between the two.
    pub(super) fn between(before: &Status, after: &Status) -> Option<Self> {
        let count = |status: &Status| {
            let counters = &status.counters;
            let late = counters.late_cells? + counters.missed_slots?;
            Some([counters.data_cells_sent?, counters.cover_cells_sent?, late, counters.sampled_at_ms?])
        };
        let (first, last) = (count(before)?, count(after)?);
        let [data, cover, late, ms] = [0, 1, 2, 3].map(|index: usize| last[index].saturating_sub(first[index]) as f64);
        let (all, slots) = (data + cover, ms / f64::from(after.schedule.slot_ms?));
        (after.mode == Some(Mode::Constant) && all > 0.0 && slots > 0.0)
            .then_some(Self { full_per_cent: data / all * 100.0, late_per_cent: late / slots * 100.0 })
    }
}

impl Bulk {
    fn megabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.seconds
    }

    /// Processor seconds of the index-th process per 10^9 bytes.
    fn cpu_s_per_gb(&self, index: usize) -> Option<f64> {
        let cpu = self.cpu_s.get(index).copied().flatten()?;
        (self.bytes > 0).then(|| cpu / (self.bytes as f64 / 1e9))
    }

    /// Share of one processor that the index-th process used.
    fn cpu_per_cent(&self, index: usize) -> Option<f64> {
        Some(self.cpu_s.get(index).copied().flatten()? / self.seconds * 100.0)
    }
}

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub(super) mode: ModeArg,
    /// `None` in mode `off`.
    pub(super) class: Option<RateClass>,
    pub(super) slot_ms: Option<u32>,
    pub(super) seconds: u64,
    pub(super) echo: Echo,
    pub(super) echo_direct: Echo,
    /// Processor seconds of each process in `seconds` without traffic.
    pub(super) idle_cpu_s: Vec<Option<f64>>,
    pub(super) down: Bulk,
    pub(super) up: Bulk,
    /// Names of the processes, in the order of every list.
    pub(super) processes: Vec<String>,
    /// Resident bytes without shared segments.
    pub(super) memory: Vec<Option<u64>>,
}

impl Figures {
    pub(super) fn table(&self) -> String {
        let mut text = format!("Mode {}", self.mode.name());
        if let (Some(class), Some(slot)) = (self.class, self.slot_ms) {
            let _ = write!(text, ", {class} of packets each way, slots of {slot} ms");
        }
        let build = if cfg!(debug_assertions) { " This is a debug build: slower than a release." } else { "" };
        let _ = writeln!(
            text,
            ".{build}\nBoth nodes, the client and the server share this machine; {} s each.\n",
            self.seconds
        );
        for (name, bulk) in [("download", &self.down), ("upload", &self.up)] {
            let _ = write!(text, "{name:<10}{:>9.1} Mbit/s of application bytes", bulk.megabits_per_second());
            if let Some(Cells { full_per_cent, late_per_cent }) = bulk.cells {
                let _ = write!(
                    text,
                    "; {full_per_cent:.1} % of cells carried data, {late_per_cent:.1} % of slots were late"
                );
            }
            text.push('\n');
        }
        let (through, direct) = (&self.echo, &self.echo_direct);
        let ms = |us: f64| us / 1000.0;
        let _ = writeln!(
            text,
            "echo      {:>9.3} ms median, {:.3} ms p99 (without the pair {:.3} and {:.3} ms)\n",
            ms(through.p50_us),
            ms(through.p99_us),
            ms(direct.p50_us),
            ms(direct.p99_us)
        );
        self.process_table(&mut text);
        text.push_str(
            "\nMemory is resident and without the shared segments. Other work on this machine slows all figures.\n",
        );
        text
    }

    fn process_table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{:<17}{:>12}{:>8}{:>8}{:>14}{:>8}{:>12}",
            "process", "cpu % idle", "down", "up", "cpu s/GB down", "up", "memory"
        );
        let number = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
        for (index, name) in self.processes.iter().enumerate() {
            let memory = self.memory.get(index).copied().flatten().map_or("unknown".to_owned(), binary);
            let _ = writeln!(
                text,
                "{name:<17}{:>12}{:>8}{:>8}{:>14}{:>8}{memory:>12}",
                number(self.idle_cpu_per_cent(index)),
                number(self.down.cpu_per_cent(index)),
                number(self.up.cpu_per_cent(index)),
                number(self.down.cpu_s_per_gb(index)),
                number(self.up.cpu_s_per_gb(index)),
            );
        }
    }

    fn idle_cpu_per_cent(&self, index: usize) -> Option<f64> {
        Some(self.idle_cpu_s.get(index).copied().flatten()? / self.seconds as f64 * 100.0)
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        let bulk = |bulk: &Bulk| {
            serde_json::json!({
                "bytes": bulk.bytes,
                "seconds": bulk.seconds,
                "megabits_per_second": bulk.megabits_per_second(),
                "cells_with_data_percent": bulk.cells.map(|cells| cells.full_per_cent),
                "slots_late_percent": bulk.cells.map(|cells| cells.late_per_cent),
            })
        };
        let echo = |echo: &Echo| serde_json::json!({ "p50_us": echo.p50_us, "p99_us": echo.p99_us });
        let processes: Vec<serde_json::Value> = (0..self.processes.len())
            .map(|index| {
                serde_json::json!({
                    "name": self.processes[index],
                    "cpu_percent_idle": self.idle_cpu_per_cent(index),
                    "cpu_s_per_gb_down": self.down.cpu_s_per_gb(index),
                    "cpu_s_per_gb_up": self.up.cpu_s_per_gb(index),
                    "cpu_percent_down": self.down.cpu_per_cent(index),
                    "cpu_percent_up": self.up.cpu_per_cent(index),
                    "memory_bytes": self.memory.get(index).copied().flatten(),
                })
            })
            .collect();
        let whole = serde_json::json!({
            "schema": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "debug_build": cfg!(debug_assertions),
            "mode": self.mode.name(),
            "rate_bits_per_second": self.class.map(RateClass::bits_per_second),
            "slot_ms": self.slot_ms,
            "download": bulk(&self.down),
            "upload": bulk(&self.up),
            "echo": echo(&self.echo),
            "echo_direct": echo(&self.echo_direct),
            "processes": processes,
        });
        let text = serde_json::to_string_pretty(&whole)
            .map_err(|error| Failure::new(Code::Software, format!("the figures cannot be written as JSON: {error}")))?;
        Ok(text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_byte_and_per_second() {
        let bulk = Bulk { bytes: 500_000_000, seconds: 4.0, cpu_s: vec![Some(1.0), None], cells: None };
        assert_eq!(bulk.megabits_per_second(), 1000.0);
        assert_eq!((bulk.cpu_s_per_gb(0), bulk.cpu_s_per_gb(1), bulk.cpu_s_per_gb(2)), (Some(2.0), None, None));
        assert_eq!(bulk.cpu_per_cent(0), Some(25.0));
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        let echo = Echo::new(&times);
        assert!((echo.p50_us - 51.0).abs() < 0.01 && (echo.p99_us - 100.0).abs() < 0.01, "{echo:?}");
    }

    #[test]
    fn cells_are_counted_between_two_samples_of_a_schedule() {
        let mut before = Status { mode: Some(Mode::Constant), ..Status::default() };
        before.counters.data_cells_sent = Some(100);
        before.counters.cover_cells_sent = Some(900);
        before.counters.late_cells = Some(5);
        before.counters.missed_slots = Some(0);
        before.counters.sampled_at_ms = Some(1000);
        before.schedule.slot_ms = Some(5);
        let mut after = before.clone();
        after.counters.data_cells_sent = Some(1090);
        after.counters.cover_cells_sent = Some(910);
        after.counters.missed_slots = Some(4);
        after.counters.sampled_at_ms = Some(6000);
        let cells = Cells::between(&before, &after);
        assert_eq!(cells, Some(Cells { full_per_cent: 99.0, late_per_cent: 0.4 }));
        assert_eq!(Cells::between(&after, &after), None, "no cell between two equal samples");
        after.mode = Some(Mode::Off);
        assert_eq!(Cells::between(&before, &after), None);
    }
}
