"""The texts of a proof of concept's page, by language; both have the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.core.languages import in_language
from sadm.data.preparation.sheet.render import point_text

ENGLISH = {
    "title": "Where does structure-guided training pay?",
    "subtitle": "{arm} against plain training at equal cost, in {count} domains within {budget}.",
    "heading_verdict": "What was found",
    "headline_pays": "{arm} pays in {count} of {all} domains: {names}.",
    "headline_open": "In none of {all} domains is it shown that {arm_in_text} pays; {count} can't be told yet.",
    "headline_not": "{arm} pays in none of {all} domains.",
    "headline_none": "No domain has a result.",
    "first_open": "Nearest to paying is {name} (FD − floor {change}{interval}).",
    "first_open_none": "No open domain leans towards a gain; the best estimate is that of {name} (FD − floor "
    "{change}{interval}).",
    "holds_all": "{names}: holds also with all {all} domains taken together at 95 % (Holm).",
    "holds_not": "{names}: clear when looked at alone, not with all {all} domains taken together (Holm): of several "
    "domains, one looks "
    "good by chance more easily. Confirm before deciding.",
    "multiple": "{all} domains were looked at. Of domains in which nothing is gained, one in 20 would look decided "
    "by chance, on "
    "either side; the column ‘all together’ allows for it (Holm).",
    "curse": "The best of several looks better than it is, since luck helped to choose it. For {name}, {seen} was "
    "seen and about {likely} "
    "is to be expected of other seeds ({low} to {high}).",
    "curse_two": "The best of several looks better than it is, since luck helped to choose it; with estimates of fewer "
    "than three domains that can't be reckoned out.",
    "short": "Trainings saw {images} images, {share} of the recipe's. What holds for short trainings need not hold for "
    "long ones: guidance helps most early, and the encoder's pre-training, here up to {pretraining} of a training's cost, "
    "weighs less in a long one.",
    "few_seeds": "With {seeds} paired seeds intervals are wide; only large differences show.",
    "left_out_note": "Left out, with the reason below: {names}.",
    "stuck_note": "{name} could not be given further seeds: {why}",
    "waiting_note": "Not finished yet: {names}. The same command goes on.",
    "spent": "Spent: {spent} of {budget}.",
    "interval": "; 95 % interval {range}",
    "heading_ranking": "Ranking",
    "column_rank": "Rank",
    "column_domain": "Domain",
    "column_verdict": "Verdict",
    "caption_ranking": "Change of FD − floor against plain training at equal cost; less is better. 95 % intervals "
    "over paired seeds.",
    "column_together": "All together",
    "column_images": "Images",
    "column_problems": "Problems",
    "column_spent": "Spent",
    "column_next": "Next step",
    "place_pays": "pays",
    "place_open": "can't be told yet",
    "place_not": "does not pay",
    "place_left_out": "left out",
    "holds": "holds",
    "probability": "p = {p}",
    "p_small": "< 0.001",
    "images_note": "{train} to train on",
    "problems_none": "none",
    "problem_quarantined": "unusable: {count}",
    "problem_duplicate": "duplicates: {count}",
    "problem_near": "alike: {count}",
    "seeds_note": "{seeds} seeds",
    "next_decide": "{further} more seeds: {cost}",
    "next_confirm": "confirm: {cost}",
    "next_stop": "none",
    "next_stop_close": "over {most} seeds",
    "next_repeat": "look into it",
    "a run diverged": "a run diverged",
    "at the floor": "at the floor",
    "heading_domains": "Domain by domain",
    "real": "Real images",
    "samples": "{arm}",
    "alt_real": "Real images of {name}",
    "alt_samples": "Generated images of {name}: {arm}",
    "same_noise": "Generated images of both arms start from the same noise, one seed; real images were held out.",
    "link_report": "Report of this domain",
    "link_sheet": "Contact sheet of its images",
    "facts": "{images} images found, {train} to train on and {held_out} held out to judge by{classes}; "
    "{width}×{height} pixels, {steps} "
    "steps, {seeds} paired seeds, {spent}.",
    "facts_classes": ", in {count} classes",
    "heading_next": "What the next step costs",
    "next_intro": "Every command goes on from what is stored, or says so; nothing is trained twice. Hours are those "
    "of this machine, "
    "with {jobs} trainings at a time.",
    "say_decide_seen": "{further} more paired seeds, {seeds} in all, decide with a chance of at least {power} if "
    "the true change is what "
    "other seeds are expected to show ({effects}). They take about {cost}.",
    "say_decide_matters": "What was seen is smaller than what matters, or the judges disagree. {further} more "
    "paired seeds, {seeds} in all, "
    "would show a true change of {effects} in every judge with a chance of at least {power}. They take about {cost}.",
    "say_confirm_full": "Before money follows: {seeds} other seeds at the recipe's full length of {steps} steps, "
    "about {cost}. Seeds that "
    "did not help to choose this domain tell how large the gain is, and whether it lasts.",
    "say_confirm": "Before money follows: {seeds} other seeds, about {cost}. Seeds that did not help to choose this "
    "domain tell how large "
    "the gain is.",
    "say_stop": "Nothing: plain training is better here, at this length of training, in which the encoder's pre-training "
    "takes {pretraining} of the cost.",
    "say_longer": "If the domain matters all the same: {seeds} other seeds at the recipe's full length of {steps} steps, "
    "about {cost}.",
    "next_longer": "train longer: {cost}",
    "say_stop_close": "Nothing is planned: even {most} paired seeds would decide only if the true change is "
    "{detectable} or more.",
    "say_repeat": "A training diverged or reached the floor, so that nothing can be reckoned; the report says which.",
    "heading_how": "How this was reckoned",
    "how_verdict": "The verdict of each domain is that of `sadm compare`: it pays where the 95 % interval of FD − "
    "floor over paired seeds, "
    "at equal cost, lies below that of plain training in every judge that decides, and does not pay where it lies above.",
    "how_ranking": "Domains where it pays come first, then those that can't be told, then those where it does not "
    "pay; in each group by "
    "the estimate, the mean log-ratio over judges and seeds.",
    "how_together": "p of a domain: the largest of its judges' p-values on one side, doubled (intersection-union "
    "test), then Holm's "
    "correction over all domains with a result.",
    "how_expected": "To be expected of other seeds: estimates drawn to their common mean, by the normal "
    "hierarchical model with flat priors, "
    "from three domains on.",
    "how_power": "Seeds to decide: noncentral t for each judge, all judges together bounded from below, chance "
    "{power}. The spread between "
    "seeds is pooled over domains and taken at its upper {bound} bound. What matters: {matters} of FD − floor. A "
    "second look at growing data decides by chance somewhat more often than one time in 20.",
    "how_equal": "All domains have equal seeds and trainings that see equally many images, but where more was asked for.",
    "heading_left_out": "Left out",
    "reason_few": "{usable} of {images} images are usable; {least} at least are needed, so that enough remain to judge by.",
    "reason_error": "{text}",
    "reason_failed": "The comparison failed: {text}",
    "join": ", ",
}

JAPANESE = {
    "title": "構造誘導学習はどこで効果があるか",
    "subtitle": "同一コストでの{arm}と通常の学習の比較。{count}領域、予算{budget}。",
    "heading_verdict": "わかったこと",
    "headline_pays": "{all}領域のうち{count}領域で{arm}に効果があります：{names}。",
    "headline_open": "{all}領域のいずれでも、{arm_in_text}の効果は示されていません。{count}領域はまだ判定できません。",
    "headline_not": "{all}領域のいずれでも、{arm}に効果はありません。",
    "headline_none": "結果のある領域がありません。",
    "first_open": "効果に最も近いのは {name} です（FD − 下限 {change}{interval}）。",
    "first_open_none": "未判定の領域に改善の傾向はありません。推定値が最も良いのは {name} です"
    "（FD − 下限 {change}{interval}）。",
    "holds_all": "{names}：全{all}領域を合わせて95 %の水準でも成り立ちます（Holm法）。",
    "holds_not": "{names}：単独では明確ですが、全{all}領域を合わせると成り立ちません（Holm法）。"
    "領域が多いほど、偶然に良く見える領域が出やすくなります。決める前に確かめてください。",
    "multiple": "{all}領域を調べました。効果のない領域でも、20に1つは偶然どちらかに決まったように見えます。"
    "「全領域」の列はこれを考慮しています（Holm法）。",
    "curse": "多数の中の最良は、運にも選ばれたため実際より良く見えます。{name} では {seen} が観測されましたが、"
    "別のシードでは {likely} 程度（{low}～{high}）が見込まれます。",
    "curse_two": "多数の中の最良は、運にも選ばれたため実際より良く見えます。推定値が3領域未満では、その分を見積もれません。",
    "short": "学習で見た画像は{images}枚で、レシピの{share}です。短い学習での結果が長い学習で成り立つとは限りません。"
    "誘導は初期に最も効く一方、エンコーダの事前学習（ここでは学習コストの最大{pretraining}）の比重は、"
    "長い学習では小さくなります。",
    "few_seeds": "対にしたシードが{seeds}個では区間が広く、大きな差しか見えません。",
    "left_out_note": "除外した領域（理由は下記）：{names}。",
    "stuck_note": "{name} にシードを追加できませんでした：{why}",
    "waiting_note": "未完了：{names}。同じコマンドで続きを実行できます。",
    "spent": "使用：{budget}のうち{spent}。",
    "interval": "、95 %区間 {range}",
    "heading_ranking": "順位",
    "column_rank": "順位",
    "column_domain": "領域",
    "column_verdict": "判定",
    "caption_ranking": "同一コストでの通常の学習に対するFD − 下限の変化。小さいほど良い。対にしたシードの95 %区間。",
    "column_together": "全領域",
    "column_images": "画像数",
    "column_problems": "問題",
    "column_spent": "使用",
    "column_next": "次の段階",
    "place_pays": "効果あり",
    "place_open": "まだ判定できない",
    "place_not": "効果なし",
    "place_left_out": "除外",
    "holds": "成立",
    "probability": "p = {p}",
    "p_small": "< 0.001",
    "images_note": "うち学習用{train}",
    "problems_none": "なし",
    "problem_quarantined": "使用不可{count}",
    "problem_duplicate": "重複{count}",
    "problem_near": "類似{count}",
    "seeds_note": "シード{seeds}個",
    "next_decide": "シード{further}個追加：{cost}",
    "next_confirm": "確認：{cost}",
    "next_stop": "なし",
    "next_stop_close": "シード{most}個超",
    "next_repeat": "要調査",
    "a run diverged": "学習が発散",
    "at the floor": "下限に達した",
    "heading_domains": "領域ごとの結果",
    "real": "実画像",
    "samples": "{arm}",
    "alt_real": "{name}の実画像",
    "alt_samples": "{name}の生成画像、{arm}",
    "same_noise": "両方の生成画像は同じ雑音から描いたものです（シード1個）。実画像は学習に使っていません。",
    "link_report": "この領域の報告書",
    "link_sheet": "画像の一覧",
    "facts": "画像{images}枚、うち学習用{train}枚、判定用{held_out}枚{classes}。{width}×{height}画素、{steps}ステップ、"
    "対にしたシード{seeds}個、{spent}。",
    "facts_classes": "、{count}クラス",
    "heading_next": "次の段階のコスト",
    "next_intro": "どのコマンドも保存済みの結果から続け、同じ学習を繰り返しません（新しく始める場合はその旨を記しています）。"
    "時間はこのマシンで{jobs}件ずつ学習した場合です。",
    "say_decide_seen": "真の変化が、別のシードで見込まれる値（{effects}）であれば、対にしたシードをあと{further}個（"
    "計{seeds}個）で、"
    "{power}以上の確率で決まります。約{cost}かかります。",
    "say_decide_matters": "観測された差は意味のある差より小さいか、評価器の間で食い違っています。"
    "対にしたシードをあと{further}個（計{seeds}個）で、真の変化が {effects} であれば、"
    "{power}以上の確率ですべての評価器に現れます。"
    "約{cost}かかります。",
    "say_confirm_full": "費用をかける前に：別のシード{seeds}個で、レシピ本来の長さ（"
    "{steps}ステップ）の比較を新しく行います。約{cost}。"
    "この領域を選ぶのに使わなかったシードから、効果の大きさと、長い学習でも続くかどうかがわかります。",
    "say_confirm": "費用をかける前に：別のシード{seeds}個で新しく比較します。約{cost}。"
    "この領域を選ぶのに使わなかったシードから、効果の大きさがわかります。",
    "say_stop": "なし。この学習の長さでは通常の学習のほうが優れています"
    "（エンコーダの事前学習がコストの{pretraining}を占めます）。",
    "say_longer": "それでも重要な領域であれば：別のシード{seeds}個で、レシピ本来の長さ（"
    "{steps}ステップ）の比較を行います。約{cost}。",
    "next_longer": "より長く学習：{cost}",
    "say_stop_close": "計画しません。対にしたシードが{most}個あっても、真の変化が {detectable} 以上でなければ決まりません。",
    "say_repeat": "学習が発散したか下限に達したため、見積もれません。報告書に記載があります。",
    "heading_how": "計算の方法",
    "how_verdict": "各領域の判定は `sadm compare` と同じです。同一コストでのFD − 下限の、対にしたシードの95 %区間が、"
    "判定に使うすべての評価器で通常の学習を下回れば「効果あり」、上回れば「効果なし」とします。",
    "how_ranking": "効果のある領域、まだ判定できない領域、効果のない領域の順に並べ、それぞれの中では推定値"
    "（評価器とシードで平均した対数比）の順に並べます。",
    "how_together": "領域のp値は、片側での評価器のp値の最大を2倍したもの（intersection-union検定）で、"
    "結果のある全領域についてHolm法で補正します。",
    "how_expected": "別のシードで見込まれる値は、3領域以上のとき、"
    "平らな事前分布の正規階層モデルで推定値を共通の平均に引き寄せたものです。",
    "how_power": "決めるためのシード数：評価器ごとに非心t分布を用い、全評価器についての下限を確率{power}とします。"
    "シード間のばらつきは全領域で併合し、その上側{bound}の限界を使います。意味のある差：FD − 下限の{matters}。"
    "データを足してもう一度判定すると、偶然に決まる割合は20回に1回より多少増えます。",
    "how_equal": "どの領域もシード数と、学習で見る画像数が同じです（多く指定した領域を除く）。",
    "heading_left_out": "除外した領域",
    "reason_few": "使える画像は{images}枚中{usable}枚です。判定に十分な枚数を残すため、少なくとも{least}枚必要です。",
    "reason_error": "{text}",
    "reason_failed": "比較に失敗しました：{text}",
    "join": "、",
}

MESSAGES = {"en": ENGLISH, "ja": JAPANESE}


def poc_texts(lang: str) -> dict[str, str]:
    """All texts of the page in a language; see `in_language`."""
    return in_language(MESSAGES, lang)


def reason_text(reason: Mapping[str, Any], lang: str) -> str:
    """Why a domain was left out, in a sentence."""
    if reason["key"] == "point":
        return point_text(dict(reason["point"]), lang)
    return poc_texts(lang)[f"reason_{reason['key']}"].format(**reason)
