# One job per notebook. Each notebook declares in its metadata what it makes and what it needs.
OFFERS = {dataset: set() for dataset in CONFIG.datasets}
for (dataset, _), cell in SETTINGS.items():
    OFFERS[dataset] |= cell.offers | ({"energy"} if CONFIG.energy else set())
NOTEBOOKS = [
    notebook
    for notebook in reporting.notebooks(f"{workflow.basedir}/notebooks", "replication" if CONFIG.replication else "run")
    if notebook.shown(OFFERS)
]
SHOWN = {notebook.name: notebook.shown(OFFERS) for notebook in NOTEBOOKS}
REPORT_FILES = [f"{RESULTS}/{path}" for notebook in NOTEBOOKS for path in notebook.files(SHOWN[notebook.name])]
PUBLISHED = f"{workflow.basedir}/results/reference/published.csv"
REPORT_CODE = provenance.code_digest(
    SCRIPT.format("render_notebook"),
    *[
        f"edgepress.reporting.{module}"
        for module in (
            "costs",
            "devices",
            "figures",
            "findings",
            "packed",
            "recipes",
            "replication",
            "results",
            "retraining",
            "selection",
            "style",
            "summary",
            "tables",
        )
    ],
)


for notebook in NOTEBOOKS:

    rule:
        name:
            f"report_{notebook.name}"
        input:
            metrics=f"{RESULTS}/metrics.csv",
            notebook=notebook.path,
            published=PUBLISHED if CONFIG.replication else [],
            reads=[OPTIONAL[name] for name in notebook.reads if name in OPTIONAL],
        output:
            page=report(
                f"{RESULTS}/report/{notebook.name}.html",
                caption="../notebooks/captions/page.rst",
                category="Pages",
                labels={"page": notebook.title},
            ),
            notebook=f"{RESULTS}/report/{notebook.name}.ipynb",
            figures=[
                report(
                    f"{RESULTS}/figures/{figure}.png",
                    caption="../notebooks/captions/figure.rst",
                    category="Figures",
                    subcategory=notebook.title,
                    labels={"figure": figure},
                )
                for figure in notebook.figure_names(SHOWN[notebook.name])
            ],
            vectors=[f"{RESULTS}/figures/{figure}.pdf" for figure in notebook.figure_names(SHOWN[notebook.name])],
            tables=[
                report(
                    f"{RESULTS}/tables/{table}.csv",
                    caption="../notebooks/captions/table.rst",
                    category="Tables",
                    labels={"table": table},
                )
                for table in notebook.table_names(SHOWN[notebook.name])
            ],
            documents=[
                f"{RESULTS}/tables/{table}.{ending}"
                for table in notebook.table_names(SHOWN[notebook.name])
                for ending in ("md", "tex")
            ],
        log:
            f"{LOGS}/report/{notebook.name}.log",
        benchmark:
            f"{BENCHMARKS}/report/{notebook.name}.tsv"
        group:
            "report"
        conda:
            ENVIRONMENT
        params:
            about=notebook.about,
            datasets=list(SHOWN[notebook.name]),
            style=CONFIG.figures.style,
            code=REPORT_CODE,
        message:
            f"Rendering the notebook {notebook.name}"
        script:
            "../scripts/render_notebook.py"


rule report_index:
    input:
        metrics=f"{RESULTS}/metrics.csv",
        others=COLLECTED[1:],
        notebooks=[notebook.path for notebook in NOTEBOOKS],
        pages=[f"{RESULTS}/report/{notebook.name}.html" for notebook in NOTEBOOKS],
    output:
        report(
            f"{RESULTS}/report/index.html",
            caption="../notebooks/captions/index.rst",
            category="Pages",
            labels={"page": "Index"},
        ),
    log:
        f"{LOGS}/report/index.log",
    benchmark:
        f"{BENCHMARKS}/report/index.tsv"
    group:
        "report"
    conda:
        ENVIRONMENT
    params:
        shown=SHOWN,
        code=provenance.code_digest(SCRIPT.format("write_index")),
    message:
        "Writing the report's first page"
    script:
        "../scripts/write_index.py"
