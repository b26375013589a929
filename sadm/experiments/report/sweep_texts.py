"""The texts of a sweep's page, by language; both have the same keys."""

from __future__ import annotations

from sadm.core.languages import in_language

SWEEP_ENGLISH = {
    "alt": "FD − floor relative to {baseline}, by {option}; smaller is better. {values}",
    "alt_value": "{value}: {change}.",
    "axis_ratio": "FD − floor, ratio to the baseline",
    "best": "The best of {count} settings is {best}.",
    "best_change": "Its FD − floor is {change} against {baseline}{interval}, as mean over the deciding judges and {seeds} "
    "paired seeds.",
    "best_is_baseline": "No setting ranks above the one that all are measured against, {best}.",
    "best_none": "Every setting diverged, so there is no best one. Lower the learning rate.",
    "column_baseline": "baseline",
    "column_change": "Change",
    "column_cpu": "CPU-seconds",
    "column_each": "Change: {judge}",
    "column_rank": "Rank",
    "column_reason": "Reason",
    "column_setting": "Setting",
    "column_steps": "Steps",
    "compared": "It was compared with {count} of the {all} other settings.",
    "confirm": "To confirm it on seeds that the search did not use, at equal cost: {command}",
    "confirm_heading": "Confirm it",
    "diverged": "Not compared, since a training diverged: {names}.",
    "equal_steps": "All were trained for {steps} steps; a setting that costs more per step (see CPU-seconds) had more money.",
    "figures_heading": "One option at a time",
    "figures_intro": "Every setting is a point; the line runs through the best setting of each value.",
    "heading_verdict": "What was found",
    "interval": " (95 % interval {low} to {high})",
    "noise": "Intervals in the table are each setting's own; telling apart from the best allows for all {pairs} "
    "pairs of settings.",
    "not_told_apart": "It can't be told apart from {count} other settings: {names}.",
    "not_told_apart_one": "It can't be told apart from {names}.",
    "optimistic": "The best of many looks better than it is, since luck helped to choose it; only other seeds say how "
    "good it is.",
    "one_seed": "With one seed there are no intervals, and no setting can be told apart from another; add seeds.",
    "ranked too low": "ranked too low",
    "a run diverged": "a run diverged",
    "at the floor": "at the floor",
    "settings_heading": "Settings, from the best",
    "stopped": "Not compared, since they were stopped early (see the table): {names}.",
    "stopped_heading": "Stopped early",
    "stopped_place": "rank {rank} of {of} after {steps} steps",
    "subtitle": "Change of FD − floor against {baseline}, after equal steps; smaller is better.",
    "title": "Sweep: {title}",
    "told_apart": "It is better than every other setting, all pairs taken together at 95 %.",
    "told_apart_compared": "It is better than all that it was compared with, all pairs taken together at 95 %.",
    "with_best": "not told apart from the best",
}

SWEEP_JAPANESE = {
    "alt": "{option}ごとの、{baseline}に対するFD − 下限の比。小さいほど良い。{values}",
    "alt_value": "{value}：{change}。",
    "axis_ratio": "FD − 下限の基準に対する比",
    "best": "{count}通りの設定のうち最も良いのは {best} です。",
    "best_change": "FD − 下限は {baseline} に対して {change}{interval}（判定に使う評価器と{seeds}個の対にしたシードの平均）。",
    "best_is_baseline": "基準の設定 {best} を上回る設定はありません。",
    "best_none": "すべての設定で学習が発散したため、最良の設定はありません。学習率を下げてください。",
    "column_baseline": "基準",
    "column_change": "変化",
    "column_cpu": "CPU秒",
    "column_each": "変化：{judge}",
    "column_rank": "順位",
    "column_reason": "理由",
    "column_setting": "設定",
    "column_steps": "ステップ数",
    "compared": "ほかの{all}通りの設定のうち、{count}通りと比較しました。",
    "confirm": "探索に使わなかったシードで、同一コストで確かめるには：{command}",
    "confirm_heading": "確かめる",
    "diverged": "学習が発散したため比較していない設定：{names}。",
    "equal_steps": "すべて {steps} ステップ学習しました。"
    "1ステップのコストが高い設定（CPU秒を参照）は、それだけ費用が多くかかっています。",
    "figures_heading": "項目ごとの結果",
    "figures_intro": "点は1つの設定、線は各値で最も良い設定を結んだものです。",
    "heading_verdict": "わかったこと",
    "interval": "（95 %区間 {low}～{high}）",
    "noise": "表の区間は設定ごとのものです。最良との区別には、設定の全{pairs}組を考慮しています。",
    "not_told_apart": "ほかの{count}通りの設定とは区別できません：{names}。",
    "not_told_apart_one": "{names} とは区別できません。",
    "optimistic": "多数の中の最良は、運にも選ばれたため実際より良く見えます。本当の良さは別のシードでしかわかりません。",
    "one_seed": "シードが1つでは区間がなく、どの設定も互いに区別できません。シードを追加してください。",
    "ranked too low": "順位が低い",
    "a run diverged": "学習が発散",
    "at the floor": "下限に達した",
    "settings_heading": "設定（良い順）",
    "stopped": "途中で打ち切ったため比較していない設定（表を参照）：{names}。",
    "stopped_heading": "途中で打ち切った設定",
    "stopped_place": "{steps} ステップの時点で{of}通り中{rank}位",
    "subtitle": "同じステップ数で学習したときの、{baseline} に対するFD − 下限の変化。小さいほど良い。",
    "title": "設定の探索：{title}",
    "told_apart": "全組を合わせて95 %の水準で、ほかのどの設定よりも良いといえます。",
    "told_apart_compared": "全組を合わせて95 %の水準で、比較したどの設定よりも良いといえます。",
    "with_best": "最良と区別できない",
}

SWEEP_MESSAGES = {"en": SWEEP_ENGLISH, "ja": SWEEP_JAPANESE}


def sweep_texts(lang: str) -> dict[str, str]:
    """All texts of a sweep's page in a language; see `in_language`."""
    return in_language(SWEEP_MESSAGES, lang)
