#!/usr/bin/env bash
# Draws the charts of perf/charts from files of results. See README.md for what is in them.
#
# usage: perf/charts.sh
# COMPARE, RUN, TAIL: the files that compare.sh, run.sh (with its sweep) and tail.sh (the series) wrote; by default the newest of
# each in perf/results. A chart whose file is not there is left out. It needs Debian's gnuplot-nox and nothing that runs.
set -euo pipefail
cd "$(dirname "$0")/.."

CHARTS=perf/charts
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
mkdir -p "$CHARTS"
command -v gnuplot >/dev/null || { echo "charts.sh: gnuplot is not installed (Debian: gnuplot-nox)" >&2 && exit 1; }

# The newest file in perf/results whose name ends with $1 and in which $2 is.
newest() {
    local file found=
    for file in perf/results/*"$1"; do
        [ ! -e "$file" ] || ! grep -q "$2" "$file" || [ "${found:-$file}" -nt "$file" ] || found=$file
    done
    echo "$found"
}

COMPARE=${COMPARE:-$(newest -compare.tsv '^round.*system')}
RUN=${RUN:-$(newest .tsv 'sweep_best')}
TAIL=${TAIL:-$(newest -tail-series.tsv '^mixed')}

# Medians over the rounds of file $1: lines of $2 (names of columns, by commas, that tell what a line is of) and of the medians
# of $3 (names of columns, by commas), by tabs. In $4 is an awk condition on cell[name].
medians() {
    awk -F'\t' -v keys="$2" -v values="$3" '
        BEGIN { keys_count = split(keys, key, ","); values_count = split(values, value, ",") }
        /^#/ { next }
        !names { names = NF; for (at = 1; at <= NF; at++) name[at] = $at; next }
        NF < names { next }
        {
            for (at = 1; at <= NF; at++) cell[name[at]] = $at
            # What a row was asked for stands in its command alone.
            cell["rate"] = match(cell["command"], /--rate [0-9.]+/) ? substr(cell["command"], RSTART + 7, RLENGTH - 7) : 0
            if (!('"$4"')) next
            line = cell[key[1]]
            for (at = 2; at <= keys_count; at++) line = line "\t" cell[key[at]]
            if (!(line in count)) order[++lines] = line
            count[line]++
            for (at = 1; at <= values_count; at++) list[line, at, count[line]] = cell[value[at]]
        }
        function median(line, at, sorted, from, to, held, total) {
            total = count[line]
            for (from = 1; from <= total; from++) {
                held = list[line, at, from] + 0
                for (to = from; to > 1 && sorted[to - 1] > held; to--) sorted[to] = sorted[to - 1]
                sorted[to] = held
            }
            return (sorted[int((total + 1) / 2)] + sorted[int(total / 2) + 1]) / 2
        }
        END {
            for (at = 1; at <= lines; at++) {
                printf "%s", order[at]
                for (field = 1; field <= values_count; field++) printf "\t%s", median(order[at], field)
                printf "\n"
            }
        }' "$1"
}

# How systems are called in charts, in the first column of stdin; what stores nothing is marked 0 in a last column, queues 1, the
# dispatcher 2.
named() {
    awk -F'\t' -v OFS='\t' '
        BEGIN {
            called["nginx_202"] = "nginx, return 202 (stores and delivers nothing)"
            called["nginx_proxy"] = "nginx, proxy_pass (stores nothing)"
            called["dispatcher"] = "Dispatcher"
            called["dispatcher_plain"] = "Dispatcher, built without a profile"
            called["dispatcher_accept"] = "Dispatcher, accepting alone"
            called["redis"] = "Redis stream, appendfsync always"
            called["postgres"] = "PostgreSQL, SKIP LOCKED"
            called["rabbitmq"] = "RabbitMQ, confirms"
            called["beanstalkd"] = "beanstalkd -f0"
            called["nats"] = "NATS JetStream, sync always"
        }
        { kind = $1 ~ /^dispatcher/ ? 2 : $1 ~ /^nginx/ ? 0 : 1; $1 = $1 in called ? called[$1] : $1; print $0, kind }'
}

# The commit and the processor of a file of results.
origin() {
    sed -n 's/^# commit: //p; s/^# cpu: \([^,;]*\).*/\1/p' "$1" | paste -sd ',' | sed 's/,/, /'
}

# Runs gnuplot on stdin with what all charts have in common. Arguments: name, width, height. No background, and greys and colours
# of middle lightness, so that it can be read on a light page and on a dark one.
draw() {
    {
        cat <<-PLOT
			set terminal svg size $2,$3 dynamic noenhanced font 'Helvetica,Arial,sans-serif,13' linewidth 1.2
			set output '$CHARTS/$1.svg'
			set datafile separator "\t"
			grey = '#7a7a7a'
			set border 3 lc rgb grey
			set tics nomirror textcolor rgb grey
			set xlabel textcolor rgb grey
			set ylabel textcolor rgb grey
			set title textcolor rgb grey
			set key textcolor rgb grey
			set grid lc rgb '#b0b0b0' lw 0.4 dt 3
		PLOT
        cat
    } | gnuplot
    echo "$CHARTS/$1.svg"
}

# A bar per system, best first. Arguments: name, column of the comparison, awk condition, title, unit, r if more is better.
bars() {
    local rows longest
    medians "$COMPARE" system "$2" "$3" | named | sort -t$'\t' -k2,2g"$6" >"$SCRATCH/$1.tsv"
    rows=$(wc -l <"$SCRATCH/$1.tsv")
    [ "$rows" -gt 0 ] || return 0
    longest=$(awk -F'\t' 'length($1) > most { most = length($1) } END { print most }' "$SCRATCH/$1.tsv")
    draw "$1" 860 $((110 + 34 * rows)) <<-PLOT
		set title "$4\n64 connections; $(origin "$COMPARE")"
		set xlabel "$5"
		unset ytics
		stats '$SCRATCH/$1.tsv' using 2 nooutput
		set yrange [$rows - 0.4:-0.6]
		set xrange [0:STATS_max * 1.15]
		set lmargin $((longest * 5 / 6 + 3))
		set border 1
		unset grid
		unset key
		set ytics scale 0
		set format x "%.0f"
		colour(kind) = kind == 2 ? 0xd9622b : kind == 1 ? 0x4a86c8 : 0x9a9a9a
		set style fill solid 0.9 noborder
		plot '$SCRATCH/$1.tsv' using (0):0:(0):2:(\$0 - 0.36):(\$0 + 0.36):(colour(\$3)):ytic(1) with boxxyerror lc rgb variable, \
		     '' using 2:0:(sprintf(\$2 < 100 ? "%.1f" : "%.0f", \$2)) with labels left offset 0.7,0 textcolor rgb grey
	PLOT
}

if [ -n "$COMPARE" ]; then
    whole='cell["scenario"] == "closed_64" && cell["system"] !~ /nginx_202|accept|2_cores/'
    bars throughput done/s "$whole" "Messages of 1 KiB delivered per second, one core" "messages/s; more is better" r
    bars cpu cpu_us/message 'cell["scenario"] == "closed_64" && cell["system"] !~ /2_cores/' \
        "CPU time per message of 1 KiB, all processes" "microseconds; less is better" ''
fi

if [ -n "$RUN" ]; then
    medians "$RUN" row rate,p50_ms,p99_ms,p99.9_ms 'cell["row"] ~ /^sweep_[0-9]/' | sort -t$'\t' -k2,2g >"$SCRATCH/sweep.tsv"
    best=$(medians "$RUN" row done/s 'cell["row"] == "sweep_best"' | cut -f2)
    draw latency_by_rate 860 460 <<-PLOT
		set title "From when a message was due to its 202, by rate; open loop, 1 KiB, 256 connections, one core\n$(origin "$RUN")"
		set xlabel "messages/s (a closed loop with 256 connections: $best)"
		set ylabel "milliseconds"
		set logscale y
		set xrange [0:*]
		set format x "%.0f"
		set key top left
		plot '$SCRATCH/sweep.tsv' using 2:5 with linespoints pt 7 ps 0.5 lc rgb '#c8416b' title 'p99.9', \
		     '' using 2:4 with linespoints pt 7 ps 0.5 lc rgb '#d9822b' title 'p99', \
		     '' using 2:3 with linespoints pt 7 ps 0.5 lc rgb '#4a86c8' title 'p50'
	PLOT
fi

if [ -n "$TAIL" ]; then
    for phase in mixed recovery control disk; do
        # Whole seconds only: not the first and not the last.
        awk -F'\t' -v phase="$phase" '$1 == phase { if (seen++ > 1) print held; held = $0 }' "$TAIL" >"$SCRATCH/$phase.tsv"
    done
    median_of() { cut -f6 "$SCRATCH/$1.tsv" | sort -g | awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : "NaN" }'; }
    draw tail 860 620 <<-PLOT
		set multiplot
		set lmargin 12
		set rmargin 3
		stats '$SCRATCH/mixed.tsv' using 2 nooutput
		set xrange [0:STATS_max + 1]
		set size 1, 0.76
		set origin 0, 0.24
		set bmargin 1
		set title "From when a message was due to its 202, second by second, while all goes on that might delay it\n$(origin "$TAIL")"
		set ylabel "milliseconds"
		set logscale y
		set format x ""
		set key above horizontal maxrows 2
		control = $(median_of control)
		disk = $(median_of disk)
		plot '$SCRATCH/mixed.tsv' using 2:7 with points pt 7 ps 0.2 lc rgb '#9a9a9a' title 'slowest', \
		     '' using 2:6 with lines lc rgb '#c8416b' title 'p99.9', \
		     '' using 2:5 with lines lc rgb '#d9822b' title 'p99', \
		     '' using 2:4 with lines lc rgb '#4a86c8' title 'p50', \
		     control with lines dt 2 lc rgb '#c8416b' title 'p99.9 with none of that', \
		     disk with lines dt 2 lc rgb '#5a9a5a' title 'p99.9 of the disk alone'
		unset logscale y
		unset title
		unset key
		set size 1, 0.24
		set origin 0, 0
		set tmargin 0
		set bmargin 4
		set format x "%.0f"
		set xlabel "seconds"
		unset ylabel
		set border 1
		set yrange [-0.6:3.6]
		set ytics ("origin away" 0, "scraped" 1, "emptied" 2, "rolled" 3) scale 0
		mark(on, row) = on > 0 ? row - 0.35 : NaN
		plot '$SCRATCH/mixed.tsv' using 2:(mark(\$15, 0)):(0):(0.7) with vectors nohead lw 0.8 lc rgb '#c8416b', \
		     '' using 2:(mark(strcol(10) ne '-', 1)):(0):(0.7) with vectors nohead lw 0.8 lc rgb '#5a9a5a', \
		     '' using 2:(mark(\$9, 2)):(0):(0.7) with vectors nohead lw 0.8 lc rgb '#d9822b', \
		     '' using 2:(mark(\$8, 3)):(0):(0.7) with vectors nohead lw 0.8 lc rgb '#4a86c8'
		unset multiplot
	PLOT
fi
