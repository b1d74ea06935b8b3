//! The recommended mode as tables of a configuration file.

use shaping::{DpSettings, Per1024, RateClass, SteppedParameters};
use shaping_plan::{DpPlan, Plan, RecommendedMode};
use std::fmt::Write;

/// What goes into the two nodes' files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippets {
    pub(crate) entry: String,
    pub(crate) exit: String,
}

/// For the recommended mode.
pub(crate) fn snippets(plan: &Plan) -> Snippets {
    let (constant, slot) = (&plan.constant.classes, plan.request.slot.as_millis());
    match (plan.recommendation.mode, &plan.dp, &plan.stepped) {
        (RecommendedMode::Dp, Some(dp), _) => {
            let (up, down) = (&dp.directions.up.settings, &dp.directions.down.settings);
            Snippets {
                entry: shaping("dp", slot, &[("up", up.ceiling), ("down", down.ceiling)]) + &table(dp, up),
                exit: shaping("dp", slot, &[("max_rate", down.ceiling.max(up.ceiling))]) + &table(dp, down),
            }
        }
        (RecommendedMode::Stepped, _, Some(stepped)) => {
            let (up, down) = (&stepped.classes.up, &stepped.classes.down);
            let (fastest_up, fastest_down) = (up.initial(), down.initial());
            Snippets {
                entry: shaping("stepped", slot, &[("up", fastest_up), ("down", fastest_down)]) + &classes(up),
                exit: shaping("stepped", slot, &[("max_rate", fastest_down.max(fastest_up))]) + &classes(down),
            }
        }
        _ => Snippets {
            entry: shaping("constant", slot, &[("up", constant.up), ("down", constant.down)]),
            exit: shaping("constant", slot, &[("max_rate", constant.down.max(constant.up))]),
        },
    }
}

fn shaping(mode: &str, slot_ms: u32, rates: &[(&str, RateClass)]) -> String {
    let mut text = format!("[shaping]\nmode = \"{mode}\"\nslot_ms = {slot_ms}\n");
    for (key, class) in rates {
        let _ = writeln!(text, "{key} = \"{}\"", rate(*class));
    }
    text
}

fn table(dp: &DpPlan, settings: &DpSettings) -> String {
    let quota = quota(settings.delta_bytes);
    format!(
        "\n[dp]\nepsilon = {:?}\ndelta = {:?}\nepoch_s = {}\nquota = \"{quota}\"\ngain = {}\nmargin = {}\nerrors = {}\n",
        dp.epsilon.value(),
        dp.delta.value(),
        settings.epoch_s,
        share(settings.gain),
        share(settings.margin),
        share(settings.errors),
    )
}

fn classes(parameters: &SteppedParameters) -> String {
    let names: Vec<String> = parameters.classes().iter().map(|class| format!("\"{}\"", rate(*class))).collect();
    format!("\n[stepped]\nclasses = [{}]\n", names.join(", "))
}

fn quota(bytes: u64) -> String {
    if bytes.is_multiple_of(1_000) { format!("{} kB", bytes / 1_000) } else { format!("{bytes} B") }
}

/// Read back, it is rounded up to the same class: below it by less than the next one is.
fn rate(class: RateClass) -> String {
    format!("{} kbit/s", class.bits_per_second() / 1_000)
}

/// The shortest decimal that is read back as the same multiple of 1/1024.
fn share(value: Per1024) -> String {
    let exact = f64::from(value.0) / 1024.0;
    let shortest = (1..10)
        .map(|digits| format!("{exact:.digits$}"))
        .find(|text| text.parse().ok().and_then(Per1024::nearest) == Some(value));
    shortest.unwrap_or_else(|| exact.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_share_is_read_back_as_itself() -> Result<(), Box<dyn std::error::Error>> {
        for number in 0..=RateClass::FASTEST.number() {
            let class = RateClass::new(number)?;
            let read = config::parse_rate(&rate(class)).map_err(|problem| problem.to_string())?;
            assert_eq!(read, class);
        }
        for multiple in 1..=16 * 1024 {
            let value = Per1024(multiple);
            let read = share(value).parse().ok().and_then(Per1024::nearest);
            assert_eq!(read, Some(value), "{}", share(value));
        }
        assert_eq!([share(Per1024(20)), share(Per1024(1331)), share(Per1024(2048))], ["0.02", "1.3", "2.0"]);
        Ok(())
    }
}
