"""What people read on a model card, by language: one table each, with the same keys."""

from __future__ import annotations

from sadm.core.languages import in_language

ENGLISH = {
    "intro": "Model card, written by `sadm card` from the files of the run. What could not be found there and was no"
    "t given says "
    "so.",
    "not_given": "not given",
    "heading_model": "Model",
    "draws": "Draws",
    "draws_value": "images of {width} × {height} pixels, {channels}",
    "draws_latents": "latents {shape}, which an autoencoder decodes",
    "grey": "grey",
    "colour": "colour",
    "alpha": "colour with transparency",
    "network": "Network",
    "process": "Process",
    "hash": "Hash of the weights",
    "adapter": "Fine-tuned by",
    "adapter_value": "{method}, from the model {base}",
    "licence": "Licence of the model",
    "owner": "Responsible",
    "contact": "Contact",
    "heading_data": "Training data",
    "source": "Source",
    "train_images": "Training images",
    "held_back": "Images kept back",
    "fingerprint": "Fingerprint",
    "licences": "Licences of the data",
    "class": "Class",
    "class_images": "Images",
    "no_classes": "The images have no classes.",
    "unknown_data": "This model was not trained by SADM; its training data are not known here.",
    "heading_settings": "Training",
    "no_run": "Without a run folder, the settings of the training are not known.",
    "setting": "Setting",
    "value": "Value",
    "all_settings": "All settings stand in `config.yaml` of the run.",
    "heading_metrics": "Metrics",
    "no_metrics": "Not evaluated: there is no `evaluation.json` in the run folder. Run `sadm evaluate`.",
    "metrics_intro": "{images} generated images against held-out images, in groups of {group}, seed {seed}. FD is a Fréchet "
    "distance in the features of the judge that is named, and no FID; the floor is what held-out images score agains"
    "t each other. "
    "`evaluation.json` does not name the model that it is of: evaluate again after training goes on.",
    "judge": "Judge",
    "floor": "Floor",
    "label_accuracy": "The classifying judge gives {share} of the images the label that they were drawn for.",
    "heading_memorisation": "Memorisation",
    "no_audit": "Not audited: there is no `audit.json`. Run `sadm audit`.",
    "audit_of_others": "The `audit.json` that lies here is not of images that this very model drew; it says nothing "
    "about it. Run "
    "`sadm audit` again.",
    "heading_use": "Intended use",
    "heading_out": "Out of scope",
    "heading_limits": "Limitations",
    "limits_always": "Generated images can show what never was, and look real. Do not use them as evidence of anythi"
    "ng, and mark "
    "them as generated where others see them.",
    "heading_policy": "Usage policy",
    "no_policy": "There is no policy.yaml.",
    "policy_enforced": "Enforced by SADM wherever images are drawn or the model is exported:",
    "retention": "Retention",
    "heading_sampling": "Drawing images",
    "heading_provenance": "Provenance",
    "step": "Weights of step",
    "kept_in": "average over the training (EMA)",
    "version": "SADM",
    "commit": "Commit",
    "machine": "Machine",
    "marks": "Images that SADM draws carry a mark (IPTC digital source type, this hash, the seed); `sadm verify` reads it.",
}

JAPANESE = {
    "intro": "学習フォルダーのファイルから `sadm card` が書いたモデルカードです。そこになく、指定もされなかった項目"
    "には、その旨を記します。",
    "not_given": "記載なし",
    "heading_model": "モデル",
    "draws": "生成するもの",
    "draws_value": "{width} × {height} 画素の画像（{channels}）",
    "draws_latents": "潜在表現 {shape}（オートエンコーダーで復号）",
    "grey": "グレースケール",
    "colour": "カラー",
    "alpha": "透明度つきカラー",
    "network": "ネットワーク",
    "process": "拡散過程",
    "hash": "重みのハッシュ値",
    "adapter": "追加学習",
    "adapter_value": "{method}、元のモデル {base}",
    "licence": "モデルのライセンス",
    "owner": "責任者",
    "contact": "連絡先",
    "heading_data": "学習データ",
    "source": "出所",
    "train_images": "学習画像数",
    "held_back": "学習に使わなかった画像数",
    "fingerprint": "フィンガープリント",
    "licences": "データのライセンス",
    "class": "クラス",
    "class_images": "画像数",
    "no_classes": "画像にクラスはありません。",
    "unknown_data": "SADM で学習したモデルではないため、学習データは不明です。",
    "heading_settings": "学習",
    "no_run": "学習フォルダーがないため、学習の設定は不明です。",
    "setting": "設定",
    "value": "値",
    "all_settings": "すべての設定は学習フォルダーの `config.yaml` にあります。",
    "heading_metrics": "評価",
    "no_metrics": "未評価：学習フォルダーに `evaluation.json` がありません。`sadm evaluate` を実行してください。",
    "metrics_intro": "生成画像 {images} 枚を評価用画像と比較（{group} 枚ずつ、シード {seed}）。FD は記載した評価器の"
    "特徴量での"
    "フレシェ距離で、FID ではありません。下限は評価用画像どうしの値です。`evaluation.json` はどのモデルのものかを記"
    "録しないため、"
    "学習を続けた後は評価し直してください。",
    "judge": "評価器",
    "floor": "下限",
    "label_accuracy": "評価用の分類器が、指定したラベルどおりに判定した画像は {share} です。",
    "heading_memorisation": "記憶（丸写し）",
    "no_audit": "未監査：`audit.json` がありません。`sadm audit` を実行してください。",
    "audit_of_others": "ここにある `audit.json` は、このモデル自身が生成した画像のものではないため、このモデルについ"
    "ては何も言えません。"
    "`sadm audit` をもう一度実行してください。",
    "heading_use": "想定する用途",
    "heading_out": "想定しない用途",
    "heading_limits": "限界",
    "limits_always": "生成画像は、実在しないものを本物らしく写すことがあります。何かの証拠として使わず、人に見せると"
    "きは生成画像である"
    "ことを明示してください。",
    "heading_policy": "利用方針",
    "no_policy": "policy.yaml はありません。",
    "policy_enforced": "画像の生成とモデルの書き出しの際に SADM が守らせる規則：",
    "retention": "保存期間",
    "heading_sampling": "画像の生成",
    "heading_provenance": "来歴",
    "step": "重みのステップ",
    "kept_in": "学習中の平均（EMA）",
    "version": "SADM",
    "commit": "コミット",
    "machine": "計算機",
    "marks": "SADM が生成する画像には印（IPTC デジタルソースタイプ、このハッシュ値、シード）が付き、`sadm verify` で"
    "読めます。",
}

TEXTS = {"en": ENGLISH, "ja": JAPANESE}


def texts(lang: str) -> dict[str, str]:
    """All texts in a language; see `in_language`."""
    return in_language(TEXTS, lang)
