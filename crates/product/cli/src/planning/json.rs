//! A plan for programs: times in milliseconds, rates in bits per second, everything else in bytes.

use super::snippet::snippets;
use serde_json::{Value, json};
use shaping_plan::{
    Capacity, DirectionPlan, DpPlan, Goal, Horizon, Performance, Plan, Promises, Statistic, SteppedPlan, Traffic,
};
use std::time::Duration;

/// One object. Its keys are promised as docs/planning.md has them.
pub(crate) fn view(plan: &Plan) -> Value {
    let snippets = snippets(plan);
    json!({
        "request": request(plan),
        "load_bits_per_second": { "up": 8.0 * plan.load_bytes_per_second.up, "down": 8.0 * plan.load_bytes_per_second.down },
        "traffic_bytes_per_month": plan.traffic_bytes_per_month,
        "recommended": { "mode": plan.recommendation.mode.name(), "reason": plan.recommendation.reason.to_string() },
        "compared_at": latency(plan.same.statistic, plan.same.at_most),
        "dp": plan.dp.as_ref().map(dp),
        "constant": {
            "up_bits_per_second": plan.constant.classes.up.bits_per_second(),
            "down_bits_per_second": plan.constant.classes.down.bits_per_second(),
            "performance": performance(&plan.constant.performance),
            "near": plan.constant.ladder.iter().map(|(class, near)| json!({
                "down_bits_per_second": class.bits_per_second(), "performance": performance(near),
            })).collect::<Vec<_>>(),
            "one_client_bound": plan.constant.user_bound.map(|bound| json!({
                "mean_ms": milliseconds(bound.mean), "least_overhead_down": bound.least_overhead_down,
            })),
        },
        "stepped": plan.stepped.as_ref().map(stepped),
        "netshaper_model": plan.netshaper.as_ref().ok().map(|model| json!({
            "interval_ms": milliseconds(model.interval),
            "overhead_down": model.overhead_down,
            "mean_ms": milliseconds(model.mean),
            "p95_ms": milliseconds(model.p95),
            "p99_ms": milliseconds(model.p99),
            "bytes_per_month_down": model.bytes_per_month,
            "noise_multiplier": model.noise_multiplier,
            "epsilon_of_hour": model.epsilon_of_hour.value(),
        })),
        "promises": plan.promises.as_ref().map(promises),
        "configuration": { "entry": snippets.entry, "exit": snippets.exit },
        "simulated": {
            "traffic": "generated, open loop",
            "seconds": plan.simulated.length.as_secs(),
            "first_seed": plan.simulated.first_seed,
            "seeds": plan.simulated.seeds,
        },
    })
}

fn request(plan: &Plan) -> Value {
    let request = &plan.request;
    json!({
        "clients": request.clients,
        "traffic": match request.traffic { Traffic::Video => "video", Traffic::Web => "web" },
        "delta_bytes": { "up": request.delta_bytes.up, "down": request.delta_bytes.down },
        "delta": request.delta,
        "epoch_s": request.epoch.as_secs(),
        "busy_hours": request.busy_hours,
        "round_trip_ms": milliseconds(request.round_trip),
        "slot_ms": request.slot.as_millis(),
        "goal": match request.goal {
            Goal::Privacy { epsilon } => json!({ "epsilon": epsilon }),
            Goal::Budget { bytes_per_month } => json!({ "bytes_per_month": bytes_per_month }),
            Goal::Latency { epsilon, target } => json!({
                "epsilon": epsilon, "latency": latency(target.statistic, target.at_most),
            }),
        },
    })
}

fn latency(statistic: Statistic, at_most: Duration) -> Value {
    let statistic = if statistic == Statistic::Mean { "mean" } else { "p95" };
    json!({ "statistic": statistic, "at_most_ms": milliseconds(at_most) })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn performance(performance: &Performance) -> Value {
    json!({
        "overhead": performance.overhead,
        "mean_ms": milliseconds(performance.mean),
        "p95_ms": milliseconds(performance.p95),
        "p99_ms": milliseconds(performance.p99),
        "bytes_per_month": { "up": performance.bytes_per_month.up, "down": performance.bytes_per_month.down },
        "keeps_up": performance.keeps_up,
    })
}

fn dp(dp: &DpPlan) -> Value {
    json!({
        "epsilon": dp.epsilon.value(),
        "delta": dp.delta.value(),
        "up": direction(&dp.directions.up),
        "down": direction(&dp.directions.down),
        "performance": performance(&dp.performance),
    })
}

fn direction(direction: &DirectionPlan) -> Value {
    let settings = &direction.settings;
    json!({
        "delta_bytes": settings.delta_bytes,
        "speed_limit_bits_per_second": direction.speed_limit_bits_per_second,
        "mu": direction.mu.value(),
        "sigma_bytes": settings.sigma.bytes(),
        "noise_bits_per_second": direction.noise_bits_per_second,
        "smoothed_noise_bits_per_second": direction.smoothed_noise_bits_per_second,
        "noise_floor_bits_per_second": direction.noise_floor_bits_per_second,
        "gain": f64::from(settings.gain.0) / 1024.0,
        "margin": f64::from(settings.margin.0) / 1024.0,
        "errors": f64::from(settings.errors.0) / 1024.0,
        "floor_bits_per_second": settings.floor.bits_per_second(),
        "at_rest_bits_per_second": direction.at_rest.bits_per_second(),
        "ceiling_bits_per_second": settings.ceiling.bits_per_second(),
    })
}

fn stepped(stepped: &SteppedPlan) -> Value {
    let classes = |parameters: &shaping::SteppedParameters| {
        parameters.classes().iter().map(|class| class.bits_per_second()).collect::<Vec<_>>()
    };
    json!({
        "up_bits_per_second": classes(&stepped.classes.up),
        "down_bits_per_second": classes(&stepped.classes.down),
        "performance": performance(&stepped.performance),
        "is_simulated": stepped.is_simulated,
        "bits_per_hour": stepped.bits_per_hour.value(),
        "bits_per_day": stepped.bits_per_day.value(),
        "rise_s": stepped.rise.as_secs(),
    })
}

fn promises(promises: &Promises) -> Value {
    let horizon = |horizon: &Horizon| {
        json!({
            "epochs": horizon.epochs,
            "mu": horizon.mu.value(),
            "epsilon": horizon.epsilon.value(),
            "certified_epsilon": horizon.certified.value(),
            "best_accuracy": horizon.accuracy.value(),
        })
    };
    let horizons = |[epoch, hour, day]: &[Horizon; 3]| json!({ "epoch": horizon(epoch), "hour": horizon(hour), "day": horizon(day) });
    let capacity = |capacity: &Capacity| {
        json!({
            "leakage_bits": capacity.leakage.value(), "information_bits": capacity.information.value(),
        })
    };
    let capacities = |capacities: &[Capacity; 3]| {
        let [epoch, hour, day] = capacities;
        json!({
            "range_bytes": { "up": epoch.range_bytes.up, "down": epoch.range_bytes.down },
            "epoch": capacity(epoch), "hour": capacity(hour), "day": capacity(day),
        })
    };
    let reacting = &promises.reacting;
    json!({
        "nobody_reacts": { "one_release_down": horizon(&promises.one_release), "one_client": horizons(&promises.one_client), "all_clients": horizons(&promises.all_clients) },
        "measured_with_reaction": {
            "factor": reacting.factor,
            "least": reacting.range[0],
            "most": reacting.range[1],
            "epochs": reacting.epochs,
            "clients": reacting.clients,
            "service_per_cent": reacting.service_per_cent,
            "experiments": reacting.seeds,
            "epsilon_down": reacting.epsilon.value(),
            "best_accuracy_down": reacting.accuracy.value(),
        },
        "whatever_reacts": {
            "delta_times_clients": capacities(&promises.by_quotas),
            "ceiling": capacities(&promises.by_ceiling),
        },
    })
}
