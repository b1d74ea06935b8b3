//! The verdict as text.

use std::fmt;

use super::figures::Grouped;
use super::{Answer, Outcome, Question, Verdict, Weight};
use crate::sighting::Direction;

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Passes => "passes",
            Self::Fails => "FAILS",
            Self::Undecided => "undecided",
        })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Sizes => "one size",
            Self::Bytes => "random bytes",
            Self::Grid => "on the grid",
            Self::Counts => "packets a slot",
            Self::Lateness => "lateness",
            Self::Distribution => "distribution",
            Self::Classifier => "classifier",
            Self::Controls => "planted leaks",
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Some(Direction::Outward) => "out",
            Some(Direction::Inward) => "in",
            None => "",
        };
        write!(out, "{:<9} {:<14} {direction:<3} {}", self.outcome, self.question, self.figures)?;
        if self.weight == Weight::Reported { out.write_str(" (not decisive)") } else { Ok(()) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([idle, loaded], packets) = (self.phases, self.packets.map(|packets| Grouped(packets as u64)));
        write!(out, "{}: {} packets in {idle} idle phases, ", self.outcome, packets[0])?;
        writeln!(out, "{} in {loaded} loaded ones\n", packets[1])?;
        for answer in &self.answers {
            writeln!(out, "  {answer}")?;
        }
        writeln!(out, "\nHow often such an answer is wrong:")?;
        let mut asked: Vec<Question> = self.answers.iter().map(|answer| answer.question).collect();
        asked.dedup();
        for question in asked {
            writeln!(out, "  {question:<14} {}", question.error_rate())?;
        }
        Ok(())
    }
}
