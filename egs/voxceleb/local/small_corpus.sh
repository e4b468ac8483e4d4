# shellcheck shell=bash disable=SC2154,SC2034 # its variables come from the script that sources it, and go to it
# What the tables of a small corpus share; sourced after the options by method_table.sh and positives_table.sh.
#
#     list             name of the trial list, as run.sh names it
#     corpus           options of run.sh that say what to read, where to work, and of what size the corpus is

for name in train_audio test_audio trials musan rirs; do
    [[ -z ${!name} || ${!name} == /* ]] || printf -v "$name" '%s' "$caller/${!name}"
done
cd "$recipe" || exit
# shellcheck source=../path.sh
. ./path.sh
corpus=(--train-audio "$train_audio" --test-audio "$test_audio" --trials "$trials" --musan "$musan" --rirs "$rirs"
    --ngpu "$ngpu" --num-threads "$num_threads" --datadir "$datadir" --dumpdir "$dumpdir" --scale "$scale")
list=$(basename "$trials")
list=${list%.*}
[ "$list" != trials ] || list="test"
