//! What releases cost, and what an observer can make of them.
//!
//! A release is a measured number of bytes plus Gaussian noise. Delta is its *sensitivity*, the most that the
//! protected difference can change it, and sigma the noise's standard deviation, both in bytes; delta, in small
//! letters, is a probability of failure. All formulas below are kept by tests against published tools.
//!
//! | question | formula | where | source |
//! |---|---|---|---|
//! | cost of one release | mu = Delta / sigma | [`NoiseRatio::mu`], [`MuSquared::from_ratio`] | Dong, Roth and Su, *Gaussian differential privacy*, JRSS B 2022 (arXiv 1905.02383), theorem 2.7 |
//! | of several, adaptively chosen | mu = sqrt(mu1^2 + mu2^2 + ...) | [`Mu::compose`], [`Composition`] | there, corollary 3.3 |
//! | of k clients at once | k mu | [`Mu::of_group`], [`Composition::for_clients`] | there, theorem 2.14 |
//! | delta for an epsilon | Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2) | [`gaussian`] | Balle and Wang, *Improving the Gaussian mechanism*, ICML 2018, theorem 8; Dong, Roth and Su, corollary 2.13 |
//! | certified for discrete noise | epsilon = min over a > 1 of rho a + ln((a - 1)/a) - (ln delta + ln a)/(a - 1), rho = mu^2/2 | [`discrete`] | Canonne, Kamath and Steinke, *The discrete Gaussian for differential privacy*, NeurIPS 2020, theorem 4 and section 2.3 |
//! | as NetShaper counts | epsilon = min over its orders of alpha mu^2/2 + ln(1/delta)/(alpha - 1) | [`netshaper`] | Mironov, *Rényi differential privacy*, CSF 2017, corollary 3 and propositions 1 and 3 |
//! | best two-class attacker | Phi(mu/2) | [`attacker`] | Dong, Roth and Su, section 2 |
//! | guess of anything at all | factor 2^L, L = n log2(1 + C / (sigma sqrt(2 pi))) | [`capacity`] | Issa, Wagner and Kamath, *An operational approach to information leakage*, IEEE Trans. Inf. Theory 2020, theorem 1 |
//!
//! The curve of [`gaussian`] is exact for continuous noise and the value that discrete noise of large sigma comes to;
//! the bound of [`discrete`] holds for discrete noise of any sigma. Where a claim is made, print the second as what
//! is certified and the first as the tight value.
//!
//! Every function is total: NaN and infinities cannot enter through the types, none comes out but the logarithm of a
//! delta of 0, and every search ends after at most 63 steps. Results of searches are rounded to the side that claims less: an epsilon up, a mu down.

pub mod attacker;
mod bisection;
mod calibration;
pub mod capacity;
mod composition;
pub mod discrete;
pub mod gaussian;
mod mu_squared;
pub mod netshaper;
pub mod normal;
mod quantity;

pub use attacker::Outlook;
pub use calibration::CalibrationError;
pub use composition::Composition;
pub use mu_squared::{MuSquared, RatioError};
pub use quantity::{
    Accuracy, Bits, Epsilon, FailureProbability, Mu, NoiseRatio, Probability, QuantityError, StandardScore,
};
