# Every target is one line that calls a tool in .venv; `make` alone lists targets and variables.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Variables. Give them on the command line: make simulate MODEL=mlp3 CONFIG=edge64 IMAGES=500
MODEL ?= mlp3#      network: an architecture to train, a trained model or one of the zoo
CONFIG ?= edge16#   accelerator: a preset (jpnet configs) or a JSON file of parameters
DATA ?= $(or $(DATA_OF_$(MODEL)),mnist)# data set to train on: digits, mnist, fashion-mnist, cifar-10
DATA_ROOT ?= $(JPNET_DATA)# folder that holds the data sets; by default the variable JPNET_DATA
WARM_START ?= #     trained dense network that make train starts from, a .safetensors file
SEED ?= 1#          seed of everything random in training
SEEDS ?= 3#         runs of each row of make table
RESUME ?= 0#        1 lets make train continue where it was stopped
BUDGET ?= 1#        share of the recipe's epochs that make train takes
TOLERANCE ?= 0.5#   points of accuracy that make tune may lose
STUDY ?= sensitivity# what make study finds out of MODEL: jpnet study --help lists all
IMAGES ?= all#      test images to simulate: a number or all
WAVES ?= 0#         1 keeps the waveforms of make cosim
JOBS ?= 2#          processes that tests and builds use
BUILD ?= build#     folder of everything that is made
PYTHON ?= python3#  interpreter that makes .venv, 3.11 or newer

# The tools that the recipes start read variables of some of these names from the environment.
unexport MODEL CONFIG DATA DATA_ROOT WARM_START SEED SEEDS RESUME BUDGET TOLERANCE STUDY IMAGES WAVES JOBS BUILD PYTHON

BIN := .venv/bin
JPNET := $(BIN)/jpnet
DATA_OF_mlp3 := mnist
DATA_OF_lenet4 := mnist
DATA_OF_convnet5 := cifar-10
DATA_OF_resnet32 := cifar-10
DATA_OF_resnet32-relu := cifar-10
DATA_OF_resnet32-wide := cifar-10
NAME := $(MODEL)$(if $(DATA_OF_$(MODEL)),$(if $(filter $(DATA),$(DATA_OF_$(MODEL))),,-$(DATA)))
OUT := $(BUILD)/$(NAME)/$(basename $(notdir $(CONFIG)))
MODEL_FILE := $(wildcard $(BUILD)/$(NAME)/model.safetensors)
SCHEDULE := $(OUT)/schedule.safetensors
RTL := $(OUT)/rtl/jpnet_accelerator.v
SIMULATION := $(OUT)/simulation.json
RUN := --model $(NAME) --config $(CONFIG) --build $(BUILD)
ROOT := $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

SPEC_SOURCES := $(wildcard sw/jpnet_spec/*.py)
COMPILER_SOURCES := $(SPEC_SOURCES) $(wildcard sw/jpnet_sw/compiler/*.py)
HW_SOURCES := $(SPEC_SOURCES) $(wildcard hw/jpnet_hw/*.py)
COSIM_SOURCES := $(wildcard cosim/jpnet_cosim/*.py cosim/jpnet_cosim/native/*.cpp)
CONFIG_FILE := $(wildcard $(filter %.json,$(CONFIG)))

.PHONY: help
help: ## list all targets and variables (the default)
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@awk '/^[A-Z_]+ [?]= / { name = $$1; value = $$0; sub(/^[A-Z_]+ [?]= /, "", value); text = value; sub(/#.*/, "", value); sub(/^[^#]*# */, "", text); printf "%-10s %-14s %s\n", name, value, text }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(JPNET) ## make the Python environment .venv

$(JPNET): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[synth,dev]' && touch $@

.PHONY: demo
demo: | $(JPNET) ## train, compile, generate Verilog, simulate and prove equal, on a data set that needs no download
	$(JPNET) demo --config $(CONFIG) --seed $(SEED) --build $(BUILD)

.PHONY: test
test: | $(JPNET) ## run all tests but those that take minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not slow'

.PHONY: longtest
longtest: | $(JPNET) ## run the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

.PHONY: train
train: | $(JPNET) ## train MODEL sparse on DATA, into $(BUILD)/MODEL/model.safetensors
	$(JPNET) train --model $(MODEL) --data $(DATA) --seed $(SEED) --budget $(BUDGET) --build $(BUILD) $(ROOT) $(if $(WARM_START),--warm-start $(WARM_START)) $(if $(filter 1,$(RESUME)),--resume)

.PHONY: compile
compile: $(SCHEDULE) ## compile MODEL for CONFIG

$(SCHEDULE): $(MODEL_FILE) $(CONFIG_FILE) $(COMPILER_SOURCES) | $(JPNET)
	$(JPNET) compile $(RUN) $(ROOT)

.PHONY: estimate
estimate: $(SCHEDULE) ## predict cycles and stall causes of MODEL on CONFIG, without Verilog
	$(JPNET) estimate $(RUN) $(ROOT) --images $(IMAGES)

.PHONY: rtl
rtl: $(RTL) ## generate the Verilog of CONFIG, its manifest and its register map

$(RTL): $(CONFIG_FILE) $(HW_SOURCES) | $(JPNET)
	$(JPNET) rtl $(RUN)

.PHONY: cosim
cosim: $(SCHEDULE) $(RTL) ## run MODEL's Verilog under cocotb with AXI models and random stalls
	$(JPNET) cosim $(RUN) $(ROOT) --seed $(SEED) $(if $(filter 1,$(WAVES)),--waves)

.PHONY: simulate
simulate: $(SCHEDULE) $(RTL) ## run IMAGES through the Verilog and compare every layer with the integer network
	$(JPNET) simulate $(RUN) $(ROOT) --images $(IMAGES)

$(SIMULATION): $(SCHEDULE) $(RTL) $(COSIM_SOURCES) | $(JPNET)
	$(JPNET) simulate $(RUN) $(ROOT) --images $(IMAGES)

.PHONY: report
report: $(SIMULATION) ## print the tables, write report.json and the figures
	$(JPNET) report $(RUN)

.PHONY: waves
waves: $(SCHEDULE) $(RTL) ## record one image's waveforms (FST) with a view file for GTKWave
	$(JPNET) waves $(RUN) $(ROOT)

.PHONY: synth
synth: $(RTL) ## synthesise, place and route CONFIG for an LFE5U-85F
	$(JPNET) synth $(RUN)

.PHONY: benchsynth
benchsynth: $(RTL) ## as synth, and write the figures that docs quote
	$(JPNET) synth $(RUN) --results docs/results --page docs/hardware.md

.PHONY: bench
bench: | $(JPNET) ## measure speeds and the zoo on every preset, as quoted in README
	$(JPNET) bench --build $(BUILD) $(ROOT)

.PHONY: table
table: | $(JPNET) ## train every pruning method on MODEL (MODEL=lenet4, mlp3 or resnet32-relu), as quoted in docs; rows that are there are kept
	$(JPNET) table --model $(MODEL) --seeds $(SEEDS) --budget $(BUDGET) --results docs/results/methods --build $(BUILD) $(ROOT) $(if $(WARM_START),--warm-start $(WARM_START))

.PHONY: comparison
comparison: | $(JPNET) ## make the methods' table and plots in docs from their result files
	$(JPNET) comparison docs/results/methods --page docs/methods.md --images docs/images

.PHONY: tune
tune: | $(JPNET) ## search densities and winner rates of MODEL for the fewest cycles on CONFIG within TOLERANCE
	$(JPNET) tune --model $(MODEL) --data $(DATA) --config $(CONFIG) --tolerance $(TOLERANCE) --seed $(SEED) --build $(BUILD) $(ROOT) $(if $(WARM_START),--warm-start $(WARM_START))

.PHONY: benchtune
benchtune: | $(JPNET) ## search LeNet-4 for edge16 jointly and uniformly, as quoted in docs; a search that was stopped goes on
	$(JPNET) tune --model lenet4 --data mnist --config edge16 --tolerance 0.5 --seed 0 --baseline uniform --resume --results docs/results/tune-lenet4.json --build $(BUILD) $(ROOT)

.PHONY: tunepage
tunepage: | $(JPNET) ## make the table and picture of the search in docs from the results' file
	$(BIN)/python -m jpnet.tuning_page docs/results/tune-lenet4.json --page docs/tuning.md --image docs/images/tune-lenet4.svg

.PHONY: study
study: | $(JPNET) ## make one figure of MODEL's filters, data and picture; STUDY names it
	$(JPNET) study $(STUDY) --model $(NAME) --build $(BUILD) $(ROOT)

.PHONY: benchstudies
benchstudies: | $(JPNET) ## train LeNet-4 and make all studies of it, as quoted in docs; what was stopped goes on
	$(BIN)/python -m jpnet.bench_studies docs/results/studies --build $(BUILD) $(ROOT)

.PHONY: studypage
studypage: | $(JPNET) ## make tables and pictures of the studies in docs from their results' files
	$(BIN)/python -m jpnet.study_page docs/results/studies --page docs/studies.md --images docs/images

.PHONY: benchtraining
benchtraining: | $(JPNET) ## measure the time of a JPnet training step against a dense one, as quoted in docs
	$(BIN)/python -m jpnet_sw.bench_training docs/results/training-step.json

.PHONY: diagrams
diagrams: | $(JPNET) ## draw the pictures of the accelerator in docs from their sources
	$(BIN)/python -m jpnet_cosim.diagrams docs/images

.PHONY: benchcycles
benchcycles: | $(JPNET) ## measure the cycle model against the Verilog, as quoted in docs
	$(BIN)/python -m jpnet.bench_cycles docs/results/cycle-model.json --build $(BUILD) $(ROOT)

.PHONY: benchwide
benchwide: | $(JPNET) ## run one image of a ResNet-32 of ten times the width on the Verilog, as quoted in docs
	$(BIN)/python -m jpnet.bench_wide docs/results/wide-network.json --build $(BUILD)

.PHONY: benchencodings
benchencodings: | $(JPNET) ## run networks with their weight lists in every encoding on the Verilog, as quoted in docs
	$(BIN)/python -m jpnet.bench_encodings docs/results/list-encodings.json --build $(BUILD) $(ROOT)

.PHONY: benchlayers
benchlayers: | $(JPNET) ## measure layers that other accelerators were measured on, as quoted in docs
	$(BIN)/python -m jpnet.bench_layers docs/results/reference-layers.json --build $(BUILD)

.PHONY: lint
lint: | $(JPNET) ## check style and format
	$(BIN)/ruff check && $(BIN)/ruff format --check

.PHONY: types
types: | $(JPNET) ## check types
	$(BIN)/mypy

.PHONY: clean
clean: ## remove everything made but .venv
	rm -rf $(BUILD) .pytest_cache .mypy_cache .ruff_cache
