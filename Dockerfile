# syntax=docker/dockerfile:1
# The daemon in an image without a shell.
#
#   docker build -t dispatcher .
#   docker run -p 8080:8080 -v dispatcher-log:/var/lib/dispatcher dispatcher
#
# Docker's default seccomp profile forbids io_uring; the daemon then says so and runs its portable backend.
# `--security-opt seccomp=deploy/seccomp.json` allows it.

# The exact version of rust-toolchain.toml: with another one rustup would download a second toolchain.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# The dependencies alone first, with an empty program, so that a change in src/ does not compile them again. Benches and
# examples are not in the context: their sections of the manifest go.
# Where perf/pgo.sh has left a profile, the daemon is built with it. Nothing here could make one: io_uring is forbidden.
COPY Cargo.toml Cargo.lock rust-toolchain.toml target/pgo/dispatcher.profdat[a] ./
RUN mkdir .cargo \
    && if [ -e dispatcher.profdata ]; then \
        echo 'build.rustflags = ["-Cprofile-use=/build/dispatcher.profdata"]' > .cargo/config.toml; \
    fi
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin dispatcher
COPY src src
# Sources from the context may be older than the empty program, and cargo compares times.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin dispatcher \
    && mkdir /log

# glibc of the same Debian release, libgcc, CA certificates, and a user without privileges; nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/dispatcher /usr/local/bin/dispatcher
# The volume inherits this owner, so that the user may write to it.
COPY --from=build --chown=nonroot:nonroot /log /var/lib/dispatcher
VOLUME /var/lib/dispatcher
ENV TRANSACTION_LOG=/var/lib/dispatcher/transaction.log \
    LISTEN=:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# No HEALTHCHECK: there is no shell and no client in here. Probe GET /-/ready on port 8080 from outside.
ENTRYPOINT ["/usr/local/bin/dispatcher"]
