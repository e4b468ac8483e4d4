# shellcheck shell=bash
# Where the corpora are. Write the folders here, or export the variables before ./run.sh; nothing is downloaded.
export VOXCELEB1=${VOXCELEB1:-} # holds wav/id10270/x6uYqmx31kE/00001.wav ... and the trial list veri_test2.txt
export VOXCELEB2=${VOXCELEB2:-} # holds wav/id00012/21Uxsk56VDQ/00001.wav ... (the dev part)
export MUSAN=${MUSAN:-}         # holds noise/, music/ and speech/
export RIRS=${RIRS:-}           # RIRS_NOISES, or any tree of room responses
