# shellcheck shell=bash
# Where the corpora are. Write the folders here, or export the variables before ./run.sh; nothing is downloaded.
export VOXCELEB1=${VOXCELEB1:-} # wav/id10270/x6uYqmx31kE/00001.wav ... below any folders, and the trial list veri_test2.txt
export VOXCELEB2=${VOXCELEB2:-} # dev/aac/id00012/21Uxsk56VDQ/00001.m4a ... or wav; of dev and test the former is taken
export MUSAN=${MUSAN:-}         # holds noise/, music/ and speech/
export RIRS=${RIRS:-}           # RIRS_NOISES, or any tree of room responses
