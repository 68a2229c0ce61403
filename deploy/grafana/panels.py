# SPDX-License-Identifier: Apache-2.0
"""What a Grafana dashboard is made of: panels, their queries, and where they stand.

An expression says MODEL where it means the chosen models, and RATE for Grafana's own interval.
"""

MODEL = 'model_name=~"$model_name"'
RATE = "$__rate_interval"
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GOOD, BAD, WORSE = "green", "orange", "red"


def query(expr, legend="__auto"):
    return {"expr": " ".join(expr.split()).replace("MODEL", MODEL).replace("RATE", RATE),
            "legend": legend}


def share(family, quantiles, by="", labels="MODEL", legend=""):
    """One query a quantile of a histogram."""
    group = f"le, {by}" if by else "le"
    return [query(f"histogram_quantile({q}, sum by ({group}) (rate({family}_bucket{{{labels}}}"
                  f"[RATE])))", f"{legend}p{round(q * 100)}") for q in quantiles]


def panel(title, description, queries, *, unit, kind="timeseries", width=8, height=8,
          warn=None, alarm=None, most=None, stack=False):
    """`warn` and `alarm`: where the colour changes; falling values where alarm < warn."""
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps(warn, alarm)}}
    if most is not None:
        defaults["max"] = most
    options = {}
    if kind == "timeseries":
        style = "area" if warn is not None else "off"
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stack else 8,
            "showPoints": "never", "stacking": {"mode": "normal" if stack else "none"},
            "thresholdsStyle": {"mode": style}}
        options = {"legend": {"displayMode": "table", "placement": "bottom",
                              "calcs": ["mean", "max", "lastNotNull"]},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area",
                   "colorMode": "value"}
    if kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": unit},
                   "color": {"mode": "scheme", "scheme": "Oranges"}}
    return {"title": title, "description": description, "type": kind, "datasource": DATASOURCE,
            "gridPos": {"w": width, "h": height}, "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "targets": [target(i, q, kind) for i, q in enumerate(queries)]}


def steps(warn, alarm):
    if warn is None:
        return [{"color": GOOD, "value": None}]
    if alarm is not None and alarm < warn:
        return [{"color": WORSE, "value": None}, {"color": BAD, "value": alarm},
                {"color": GOOD, "value": warn}]
    rising = [{"color": GOOD, "value": None}, {"color": BAD, "value": warn}]
    return rising + ([{"color": WORSE, "value": alarm}] if alarm is not None else [])


def target(index, what, kind):
    form = "heatmap" if kind == "heatmap" else "time_series"
    return {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": what["expr"],
            "legendFormat": what["legend"], "format": form, "range": kind != "stat",
            "instant": kind == "stat"}


def variable(name, expr):
    return {"name": name, "label": name, "type": "query", "datasource": DATASOURCE,
            "query": {"query": expr, "refId": "A"}, "definition": expr, "refresh": 2, "sort": 1,
            "includeAll": True, "multi": True, "allValue": ".*",
            "current": {"text": "All", "value": "$__all"}}


def dashboard(uid, title, description, panels, variables=()):
    x = y = row = 0
    for i, each in enumerate(panels):
        place = each["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y, row = 0, y + row, 0
        place.update(x=x, y=y)
        x, row = x + place["w"], max(row, place["h"])
        each["id"] = i + 1
    chosen = {"name": "datasource", "label": "datasource", "type": "datasource",
              "query": "prometheus", "refresh": 1, "current": {}}
    models = variable("model_name", "label_values(tandem_build_info, model_name)")
    return {"uid": uid, "title": title, "description": description, "tags": ["tandem"],
            "schemaVersion": 38, "version": 1, "editable": True, "graphTooltip": 1,
            "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser",
            "annotations": {"list": []},
            "links": [{"title": "Tandem", "type": "dashboards", "tags": ["tandem"],
                       "asDropdown": True, "keepTime": True, "includeVars": True}],
            "templating": {"list": [chosen, models, *variables]}, "panels": panels}
