"""Are posteriors right? Tests of an estimator on held-out pairs.

- `sbc_ranks`, `check_ranks`: ranks of the truth, and whether they are uniform, each
  number beside its distribution under exact calibration.
- `coverage`: how often credible intervals hold the truth.
- `tarp`, `hpd_ranks`: the same for joint posteriors.
- `summarize`, `recovery_table`: errors and interval widths over the true values.
- `binned_coverage`, `local_c2st`: the same part by part of the range, image by image.
- `c2st`, `reweighting_check`, `information`: of samples, of ratios, in nats.
- `posterior_predictive`, `predictive_check`: images the posterior expects.
- `misspecification`, `p_values`: images unlike those of training.
- `report`: all that can be told from one held-out ensemble, beside its nulls.

All share one engine, `map_posteriors`: each image is embedded once (`embed_ensemble`)
and its posterior tabulated in a compiled loop.
"""

from gl15.diagnostics._binned import (
    binned_coverage as binned_coverage,
    BinnedCoverage as BinnedCoverage,
)
from gl15.diagnostics._c2st import (
    c2st as c2st,
    reweighting_check as reweighting_check,
    TwoSample as TwoSample,
)
from gl15.diagnostics._coverage import (
    Coverage as Coverage,
    coverage as coverage,
    named_ranks as named_ranks,
    Ranks as Ranks,
)
from gl15.diagnostics._figure import Figure as Figure
from gl15.diagnostics._information import (
    Information as Information,
    information as information,
)
from gl15.diagnostics._local import local_c2st as local_c2st, LocalC2ST as LocalC2ST
from gl15.diagnostics._misspecification import (
    misspecification as misspecification,
    p_values as p_values,
)
from gl15.diagnostics._posteriors import (
    embed_ensemble as embed_ensemble,
    HeldOut as HeldOut,
    map_posteriors as map_posteriors,
)
from gl15.diagnostics._predictive import (
    image_statistics as image_statistics,
    posterior_predictive as posterior_predictive,
    predictive_check as predictive_check,
    PredictiveCheck as PredictiveCheck,
)
from gl15.diagnostics._recovery import (
    Column as Column,
    recovery_table as recovery_table,
    RecoveryTable as RecoveryTable,
)
from gl15.diagnostics._report import Report as Report, report as report
from gl15.diagnostics._sbc import sbc_ranks as sbc_ranks
from gl15.diagnostics._summary import summarize as summarize, Summary as Summary
from gl15.diagnostics._tarp import hpd_ranks as hpd_ranks, Tarp as Tarp, tarp as tarp
from gl15.diagnostics._uniformity import (
    check_ranks as check_ranks,
    ecdf_band as ecdf_band,
    null_deviation_quantile as null_deviation_quantile,
    null_deviations as null_deviations,
    rank_deviation as rank_deviation,
    RankCheck as RankCheck,
)
