mod ends;
mod life;
mod outcomes;
